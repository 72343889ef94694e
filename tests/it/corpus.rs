//! The corpus of each fuzz target, on stable Rust: what once broke a promise breaks it no more.
//!
//! `make fuzz` looks for new inputs; `fuzz/corpus` holds the few that reach everything it reached.

#[expect(unreachable_pub, reason = "the library of the fuzz workspace, taken in as it is")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(name)
}

/// Every input of the target's corpus. A panic tells the line.
fn check(name: &str) {
    let file = folder("corpus").join(format!("{name}.txt"));
    let inputs = fuzz::corpus::read(&fs::read_to_string(file).unwrap()).unwrap();
    assert!(!inputs.is_empty());
    let target = fuzz::target(name);
    for (line, input) in inputs.iter().enumerate() {
        eprintln!("{name}.txt:{}: {}", line + 1, input.escape_ascii());
        target(input);
    }
}

#[test]
fn cursors() {
    check("cursors");
}

#[test]
fn definitions() {
    check("definitions");
}

#[test]
fn frames() {
    check("frames");
}

#[test]
fn ids() {
    check("ids");
}

#[test]
fn plans() {
    check("plans");
}

#[test]
fn tokens() {
    check("tokens");
}

#[test]
fn values() {
    check("values");
}

#[test]
fn every_target_has_its_files() {
    let names = |folder_name: &str, extension: &str| -> BTreeSet<String> {
        let files = fs::read_dir(folder(folder_name)).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let named = paths.filter(|path| path.extension().is_some_and(|it| it == extension));
        named.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let targets: BTreeSet<String> = fuzz::TARGETS.iter().map(|it| it.0.to_owned()).collect();
    assert_eq!(names("targets", "rs"), targets);
    assert_eq!(names("corpus", "txt"), targets);
    assert_eq!(names("dictionaries", "dict"), targets);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
    }
}

#[test]
fn a_corpus_is_readable_text() {
    let check = |text: &str, expected: Result<&[&[u8]], usize>| {
        let expected = expected.map(|inputs| inputs.iter().map(|it| it.to_vec()).collect());
        assert_eq!(fuzz::corpus::read(text), expected, "{text:?}");
    };
    check("", Ok(&[]));
    check("a\n\n", Ok(&[b"a", b""]));
    check("a\\\\b\\n\\x00\\xff\n", Ok(&[b"a\\b\n\0\xff"]));
    check("a\n\\", Err(2));
    check("\\x0", Err(1));
    check("\\q", Err(1));
}
