//! The pages of `docs/` name what exists: links, files, limits and variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The page in whose tables a limit must be declared in a file of its own row.
const STRICT: &str = "security.md";

/// Names of other people's constants and variables.
const FOREIGN: [&str; 2] = ["CONVEX_URL", "TCP_NODELAY"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The pages, by file name.
fn pages() -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(root().join("docs")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    pages.map(named).collect()
}

/// The source of the crates, one text.
fn source() -> String {
    let (mut text, mut folders) = (String::new(), vec![root().join("crates")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}

/// The lines of a page outside its code blocks, with their numbers.
fn prose(page: &str) -> Vec<(usize, &str)> {
    let mut in_block = false;
    let lines = page.lines().enumerate().map(|(number, line)| (number + 1, line));
    let outside = lines.filter(|(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !in_block && !fence
    });
    outside.collect()
}

/// What stands between backticks in a line.
fn code_of(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The targets of the links of a line.
fn links_of(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Whether a piece of code names a file of this repository.
fn is_file(code: &str) -> bool {
    const FOLDERS: [&str; 6] = ["crates/", "docs/", "tests/", "schema/", "benches/", "fuzz/"];
    FOLDERS.iter().any(|folder| code.starts_with(folder)) && !code.contains([' ', '*', '<', '{'])
}

/// Whether a piece of code is the name of a constant or variable.
fn is_constant(code: &str) -> bool {
    code.contains('_')
        && code.starts_with(|first: char| first.is_ascii_uppercase())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether a name is the variable of a setting: those are made from the names of flags.
fn is_setting(code: &str, source: &str) -> bool {
    let flag = code.strip_prefix("CONCAVE_").map(|name| name.to_lowercase().replace('_', "-"));
    flag.is_some_and(|flag| source.contains(&format!("\"{flag}\"")))
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept =
        text.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
    kept.map(|char| if char == ' ' { '-' } else { char }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).into_iter().filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| anchor(line)).collect()
}

/// What a link of a page in `docs/` leads to and is not there.
fn broken(link: &str, page: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, wanted) = link.split_once('#').map_or((link, None), |(file, to)| (file, Some(to)));
    let target = match file {
        "" => page.to_owned(),
        _ => match std::fs::read_to_string(root().join("docs").join(file)) {
            Ok(text) => text,
            Err(_) if root().join("docs").join(file).is_dir() => return None,
            Err(_) => return Some(format!("no file {file}")),
        },
    };
    let wanted = wanted?;
    (!anchors(&target).contains(wanted)).then(|| format!("no heading for {link}"))
}

#[test]
fn what_pages_name_exists() {
    let (pages, source) = (pages(), source());
    assert!(pages.contains_key(STRICT));
    let words: BTreeSet<&str> =
        source.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_')).collect();
    let mut wrong = Vec::new();
    for (name, page) in &pages {
        for (number, line) in prose(page) {
            let mut say = |what: String| wrong.push(format!("docs/{name}:{number}: {what}"));
            links_of(line).filter_map(|link| broken(link, page)).for_each(&mut say);
            for code in code_of(line) {
                if is_file(code) && !root().join(code).exists() {
                    say(format!("no file {code}"));
                }
                let is_known = words.contains(code) || is_setting(code, &source);
                if is_constant(code) && !FOREIGN.contains(&code) && !is_known {
                    say(format!("no constant or variable {code}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn limits_are_where_the_page_on_security_says() {
    let page = &pages()[STRICT];
    let mut limits = 0;
    for (number, line) in prose(page).into_iter().filter(|(_, line)| line.starts_with('|')) {
        let files = code_of(line).filter(|code| is_file(code));
        let text: String =
            files.map(|file| std::fs::read_to_string(root().join(file)).unwrap()).collect();
        for limit in code_of(line).filter(|code| is_constant(code)) {
            limits += 1;
            assert!(text.contains(&format!("const {limit}:")), "docs/{STRICT}:{number}: {limit}");
        }
    }
    assert!(limits > 40, "the table is gone");
}

#[test]
fn the_reader_of_pages_reads_them() {
    let page = "# A `b` c: d!\n[x](#a-b-c-d) [y](other.md)\n```\n`crates/no.rs`\n```\n`A_B` `Ab_C`";
    assert_eq!(anchors(page), BTreeSet::from(["a-b-c-d".to_owned()]));
    assert_eq!(broken("#a-b-c-d", page), None);
    assert_eq!(broken("#a", page), Some("no heading for #a".to_owned()));
    assert_eq!(broken("other.md", page), Some("no file other.md".to_owned()));
    assert_eq!(broken("security.md#who-is-who", page), None);
    assert_eq!(broken("../crates", page), None);
    let lines = prose(page);
    assert!(lines.iter().all(|(_, line)| !line.contains("no.rs")));
    let constants: Vec<&str> = code_of(lines[2].1).filter(|code| is_constant(code)).collect();
    assert_eq!((lines[2].0, constants), (6, vec!["A_B"]));
}
