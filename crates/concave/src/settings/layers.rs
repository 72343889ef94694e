//! Flag over environment over file over default, and where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::kind::switch;
use super::{FILE, FILE_BYTES_MAX, SETTINGS, Setting, file, variable};

/// Where a value came from. Ordered: the greater one wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Default,
    File { path: PathBuf, line: usize },
    Environment,
    Flag,
}

/// A value that somebody set, before it is believed.
#[derive(Clone, Debug)]
struct Given {
    text: String,
    source: Source,
}

/// All that was given, by setting; later layers go over earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    given: BTreeMap<&'static str, Given>,
    /// What the flags of the official backend are called, where they have other names.
    spelled: BTreeMap<&'static str, &'static str>,
}

impl Layers {
    /// The flags as they were given, with the environment and the file below them. `file` is the
    /// flag that names the file; without it the environment may.
    ///
    /// Errors: a file that cannot be read, is not one, or has unknown keys; text that is not UTF-8.
    pub(crate) fn gather(
        flags: Vec<(&'static str, String)>,
        file: Option<PathBuf>,
    ) -> Result<Self> {
        let mut layers = Layers::default();
        let file = match file {
            Some(path) => Some(path),
            None => environment(&variable(FILE))?.map(PathBuf::from),
        };
        if let Some(path) = &file {
            layers.add_file(path)?;
        }
        for setting in SETTINGS {
            if let Some(text) = environment(&setting.variable())? {
                layers.set(setting.name, text, Source::Environment);
            }
        }
        for (name, text) in flags {
            layers.set(name, text, Source::Flag);
        }
        Ok(layers)
    }

    /// Another default than that of the table.
    pub(crate) fn default_to(&mut self, name: &'static str, text: &str) {
        let given = Given { text: text.to_owned(), source: Source::Default };
        self.given.entry(name).or_insert(given);
    }

    /// Says that the flag of `name` was written as `flag`.
    pub(crate) fn spell(&mut self, name: &'static str, flag: &'static str) {
        self.spelled.insert(name, flag);
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let read = || -> std::io::Result<String> {
            let mut text = String::new();
            std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().with_context(|| format!("cannot read settings {}", path.display()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            bail!("settings {} are larger than {FILE_BYTES_MAX} bytes", path.display());
        }
        let entries = file::parse(&text).map_err(|why| anyhow!("{}, {why}", path.display()))?;
        for entry in entries {
            let source = Source::File { path: path.to_owned(), line: entry.line };
            self.set(entry.setting, entry.text, source);
        }
        Ok(())
    }

    fn set(&mut self, name: &'static str, text: String, source: Source) {
        self.given.insert(name, Given { text, source });
    }

    /// The value of every setting. Errors: a value that its setting does not take, with its source.
    pub(crate) fn resolve(self) -> Result<Values> {
        self.resolve_those(|_| true)
    }

    /// As [`Layers::resolve`], for commands that need only the shared ones; the others are as if they
    /// had not been given.
    pub(crate) fn resolve_shared(self) -> Result<Values> {
        self.resolve_those(|setting| setting.is_shared)
    }

    fn resolve_those(self, is_needed: fn(&Setting) -> bool) -> Result<Values> {
        self.check_secrets()?;
        let mut texts = BTreeMap::new();
        for setting in SETTINGS {
            let given = self.given.get(setting.name).filter(|_| is_needed(setting));
            let text = match given {
                Some(given) => {
                    let place = self.place(setting, &given.source);
                    setting.kind.check(&given.text).map_err(|why| anyhow!("{place} {why}"))?;
                    given.text.clone()
                }
                None => setting.default.to_owned(),
            };
            texts.insert(setting.name, text);
        }
        // The nearer one of the two counts; the other is as good as not given.
        if let (Some(secret), Some(file)) = (self.source(SECRET), self.source(SECRET_FILE)) {
            let weaker = if secret > file { SECRET_FILE } else { SECRET };
            texts.insert(weaker, String::new());
        }
        Ok(Values { texts })
    }

    fn source(&self, name: &str) -> Option<&Source> {
        self.given.get(name).map(|given| &given.source)
    }

    fn check_secrets(&self) -> Result<()> {
        let rank = |name| self.source(name).map(std::mem::discriminant);
        if rank(SECRET).is_some() && rank(SECRET) == rank(SECRET_FILE) {
            bail!("{SECRET} and {SECRET_FILE} are both given: leave one out");
        }
        Ok(())
    }

    /// How the place of a value is called in errors.
    fn place(&self, setting: &Setting, source: &Source) -> Place {
        Place(match source {
            Source::Default => setting.name.to_owned(),
            Source::File { path, line } => {
                format!("{}, line {line}: {}", path.display(), setting.key())
            }
            Source::Environment => setting.variable(),
            Source::Flag => match self.spelled.get(setting.name) {
                Some(flag) => (*flag).to_owned(),
                None => format!("--{}", setting.name),
            },
        })
    }
}

const SECRET: &str = "instance-secret";
const SECRET_FILE: &str = "instance-secret-file";

struct Place(String);

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A variable of the environment; empty is as good as not set, as files of containers have it.
fn environment(name: &str) -> Result<Option<String>> {
    match std::env::var_os(name).map(std::ffi::OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) if text.is_empty() => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => bail!("{name} is not UTF-8"),
    }
}

/// The value of every setting, checked.
#[derive(Debug)]
pub(crate) struct Values {
    texts: BTreeMap<&'static str, String>,
}

impl Values {
    /// The text of a setting. Panics if there is no such setting.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.texts.get(name).expect("the name of a setting")
    }

    /// The text of a setting, if there is any.
    pub(crate) fn some(&self, name: &str) -> Option<String> {
        Some(self.text(name).to_owned()).filter(|text| !text.is_empty())
    }

    /// The setting as a number or an address. Errors: the kind in the table allows more than `T`.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<T> {
        let text = self.text(name);
        text.parse().map_err(|_| anyhow!("{name} cannot be {text:?}"))
    }

    /// A number of MiB, in bytes.
    pub(crate) fn mib(&self, name: &str) -> Result<usize> {
        Ok(self.parsed::<usize>(name)?.saturating_mul(1 << 20))
    }

    /// A number of seconds.
    pub(crate) fn seconds(&self, name: &str) -> Result<Duration> {
        Ok(Duration::from_secs(self.parsed(name)?))
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, name: &str) -> Result<bool> {
        switch(self.text(name)).map_err(|why| anyhow!("{name} {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(given: &[(&'static str, &str, Source)]) -> Layers {
        let mut layers = Layers::default();
        for (name, text, source) in given {
            layers.set(name, (*text).to_owned(), source.clone());
        }
        layers
    }

    fn in_file(line: usize) -> Source {
        Source::File { path: "c.toml".into(), line }
    }

    #[test]
    fn without_anything_the_defaults_hold() {
        let values = Layers::default().resolve().unwrap();
        assert_eq!(values.parsed::<u16>("port").unwrap(), 3210);
        assert_eq!(values.some("origin"), None);
        let mut official = Layers::default();
        official.default_to("app", "none");
        assert_eq!(official.resolve().unwrap().text("app"), "none");
    }

    #[test]
    fn errors_say_where_the_value_came_from() {
        let check = |source: Source, begin: &str| {
            let error = layers(&[("port", "x", source)]).resolve().unwrap_err().to_string();
            let expected = format!("{begin} takes a whole number from 0 to 65535, not \"x\"");
            assert_eq!(error, expected);
        };
        check(Source::Flag, "--port");
        check(Source::Environment, "CONCAVE_PORT");
        check(in_file(7), "c.toml, line 7: port");
    }

    #[test]
    fn the_nearer_of_secret_and_secret_file_counts() {
        let (a, b) = ("aa".repeat(32), "bb".repeat(32));
        let given = [(SECRET, a.as_str(), in_file(1)), (SECRET_FILE, "f", Source::Environment)];
        let values = layers(&given).resolve().unwrap();
        assert_eq!((values.some(SECRET), values.some(SECRET_FILE)), (None, Some("f".into())));
        let given = [(SECRET, b.as_str(), Source::Flag), (SECRET_FILE, "f", Source::Environment)];
        let values = layers(&given).resolve().unwrap();
        assert_eq!((values.some(SECRET), values.some(SECRET_FILE)), (Some(b.clone()), None));
        let given = [(SECRET, b.as_str(), in_file(1)), (SECRET_FILE, "f", in_file(2))];
        assert!(layers(&given).resolve().unwrap_err().to_string().contains("both given"));
    }
}
