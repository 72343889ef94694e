//! The table of settings for people: help, the page for operators, an example of the file.

use std::fmt::Write as _;

use super::{FILE, Group, Kind, SETTINGS, Setting, variable};

/// Between these lines of docs/operators.md stands what [`table`] writes.
pub(crate) const BEGIN: &str = "<!-- settings: made by `concave config --docs` -->";
/// The end of it.
pub(crate) const END: &str = "<!-- end of settings -->";

/// The help of a flag.
pub(crate) fn help(setting: &Setting) -> String {
    let mut help = String::from(setting.doc);
    if !setting.unit.is_empty() {
        let _ = write!(help, " In {}.", setting.unit);
    }
    let _ = write!(help, " [env: {}]", setting.variable());
    if !setting.default.is_empty() {
        let _ = write!(help, " [default: {}]", setting.default);
    }
    help
}

/// All settings as tables of Markdown.
pub(crate) fn table() -> String {
    let mut page = format!("{BEGIN}\n");
    for group in Group::ALL {
        let _ = write!(page, "\n#### {}\n\n", group.title());
        page.push_str(
            "| flag | variable | key in the file | default | what |\n|---|---|---|---|---|\n",
        );
        for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
            let default = match (setting.default, setting.unit) {
                ("", _) => String::new(),
                (default, "") => format!("`{default}`"),
                (default, unit) => format!("`{default}` {unit}"),
            };
            let _ = writeln!(
                page,
                "| `--{}` | `{}` | `{}` | {default} | {} |",
                setting.name,
                setting.variable(),
                setting.key(),
                setting.doc.replace('|', "\\|"),
            );
        }
    }
    let _ = write!(page, "\n{END}\n");
    page
}

/// A file in which every setting stands as a comment, with its default.
pub(crate) fn example() -> String {
    let mut file = format!(
        "# Settings of Concave: `concave serve --{FILE} concave.toml`, or {} in the environment.\n\
         # What stands here counts less than the environment, and that less than flags.\n",
        variable(FILE)
    );
    for group in Group::ALL {
        let _ = write!(file, "\n# {}\n", group.title());
        for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
            let unit = if setting.unit.is_empty() { "" } else { " In " };
            let end = if setting.unit.is_empty() { "" } else { "." };
            let _ = write!(file, "\n# {}{unit}{}{end}\n", setting.doc, setting.unit);
            let _ = writeln!(file, "# {} = {}", setting.key(), literal(setting));
        }
    }
    file
}

fn literal(setting: &Setting) -> String {
    match setting.kind {
        Kind::Number { .. } | Kind::Switch => setting.default.to_owned(),
        Kind::Text
        | Kind::Path
        | Kind::Address
        | Kind::Name
        | Kind::Secret
        | Kind::Origin
        | Kind::OneOf(_) => format!("{:?}", setting.default),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file;
    use super::*;

    #[test]
    fn the_page_for_operators_has_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operators.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("the begin of the settings");
        let (_, after) = rest.split_once(&format!("{END}\n")).expect("the end of the settings");
        let expected = format!("{before}{}{after}", table());
        if page == expected {
            return;
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, expected).unwrap();
        } else {
            panic!("docs/operators.md is not what the settings say; UPDATE=1 writes it anew");
        }
    }

    #[test]
    fn the_example_is_a_file_of_settings() {
        let example = example();
        assert_eq!(file::parse(&example).unwrap(), []);
        let set = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") => rest.to_owned(),
            Some(_) | None => String::new(),
        };
        let uncommented: Vec<String> = example.lines().map(set).collect();
        let entries = file::parse(&uncommented.join("\n")).unwrap();
        assert_eq!(entries.len(), SETTINGS.len());
        for (entry, setting) in entries.iter().zip(SETTINGS) {
            assert_eq!((entry.setting, entry.text.as_str()), (setting.name, setting.default));
        }
    }
}
