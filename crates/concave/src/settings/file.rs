//! The file of settings: TOML, one key for each.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Kind, SETTINGS, Setting};

/// A setting in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) setting: &'static str,
    /// In the form of the flag.
    pub(super) text: String,
    /// From 1.
    pub(super) line: usize,
}

/// What a file sets. Errors: the line, and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        format!("line {line}: {}", error.message())
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(text, key.span().start);
        let wrong = |why: String| format!("line {line}: {why}");
        let setting = find(key.get_ref()).map_err(wrong)?;
        let text =
            plain(setting, value).map_err(|why| wrong(format!("{} {why}", key.get_ref())))?;
        entries.push(Entry { setting: setting.name, text, line });
    }
    // The parser sorts by key; whoever reads an error reads from the top.
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn find(key: &str) -> Result<&'static Setting, String> {
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.key() == key) {
        return Ok(setting);
    }
    let meant = SETTINGS.iter().find(|setting| setting.key() == key.replace('-', "_"));
    Err(match meant {
        Some(setting) => format!("unknown key {key:?}: it is written {}", setting.key()),
        None => format!("unknown key {key:?}: `concave config` lists all"),
    })
}

/// The value in the form of the flag, if it has the type of the setting.
fn plain(setting: &Setting, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let value = value.get_ref();
    let (found, wanted) = match setting.kind {
        Kind::Number { .. } => {
            let number = value.as_integer().filter(|number| number.radix() == 10);
            (number.map(|number| number.as_str().replace('_', "")), "a number without quotes")
        }
        Kind::Switch => (value.as_bool().map(|on| on.to_string()), "true or false without quotes"),
        Kind::Text
        | Kind::Path
        | Kind::Address
        | Kind::Name
        | Kind::Secret
        | Kind::Origin
        | Kind::OneOf(_) => (value.as_str().map(str::to_owned), "a text in quotes"),
    };
    found.ok_or_else(|| format!("takes {wanted}, not a value of type {}", value.type_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_each_type() {
        let file = "# comment\nport = 3_000\ndev_auth = true\n\ndata = \"/a\"\n";
        let entry = |setting, text: &str, line| Entry { setting, text: text.to_owned(), line };
        let expected =
            [entry("port", "3000", 2), entry("dev-auth", "true", 3), entry("data", "/a", 5)];
        assert_eq!(parse(file).unwrap(), expected);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn errors_name_line_and_key() {
        let check = |file: &str, parts: &[&str]| {
            let error = parse(file).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{file:?}: {error}");
        };
        check("port = 1\n\npotr = 2", &["line 3", "unknown key \"potr\""]);
        check("cache-mb = 2", &["line 1", "cache_mb"]);
        check("\nport = \"1\"", &["line 2", "port takes a number without quotes", "string"]);
        check("port = 0x10", &["line 1", "port takes a number"]);
        check("dev_auth = 1", &["line 1", "dev_auth takes true or false"]);
        check("data = 1", &["line 1", "data takes a text in quotes"]);
        check("port = 1\nport = 2", &["line 2", "duplicate"]);
        check("port = ", &["line 1"]);
        check("[network]\nport = 1", &["line 1", "unknown key \"network\""]);
    }
}
