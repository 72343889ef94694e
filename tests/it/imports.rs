//! The shape of the workspace: who imports whom, how long files are, whether papers tell the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Most lines of a source file.
const FILE_LINES_MAX: usize = 900;

/// Who may import whom: design.md 1. `derive` is a macro: it imports nobody, and whoever declares types
/// for functions may use it. Tests and benches may import all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("value", &[]),
    ("derive", &[]),
    ("store", &["value"]),
    ("engine", &["value", "store"]),
    ("functions", &["value", "engine", "derive"]),
    ("protocol", &["value"]),
    ("js", &["value", "functions"]),
    ("presence", &["value", "functions", "derive"]),
    ("server", &["value", "functions", "protocol"]),
];
/// Crates that may import every other one.
const MAY_IMPORT_ALL: &[&str] = &["concave", "tests", "benches"];
/// What tests of a crate import beyond that, each with its reason.
const MAY_IMPORT_IN_TESTS: &[(&str, &str)] = &[
    // Functions are tested on a real engine, which needs a store.
    ("functions", "store"),
    // Endpoints and applications are tested on a runtime in memory.
    ("server", "engine"),
    ("server", "store"),
    ("presence", "engine"),
    ("presence", "store"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Our crates, by name, with the text of their manifests.
fn manifests() -> BTreeMap<String, String> {
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let folders = crates.map(|entry| entry.unwrap().path());
    let folders = folders.chain([root().join("tests"), root().join("benches")]);
    let manifest = |folder: PathBuf| {
        let text = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?;
        Some((folder.file_name()?.to_str()?.to_owned(), text))
    };
    folders.filter_map(manifest).collect()
}

/// The crates of ours that a manifest names: in the program, and in its tests only.
fn imports(manifest: &str, ours: &BTreeSet<String>) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut program, mut tests) = (BTreeSet::new(), BTreeSet::new());
    let mut section = String::new();
    for line in manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            // [dependencies.name] is the long form of one line.
            if let Some((kind, name)) = section.clone().rsplit_once("dependencies.") {
                let into = if kind.contains("dev-") { &mut tests } else { &mut program };
                into.insert(name.to_owned());
            }
            continue;
        }
        if !section.ends_with("dependencies") {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.trim().split('.').next().unwrap_or_default();
        // Under another name: `other = { package = "name" }`.
        let renamed = value.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
        let into = if section.contains("dev-") { &mut tests } else { &mut program };
        into.insert(renamed.unwrap_or(name).to_owned());
    }
    let of_ours = |names: BTreeSet<String>| names.intersection(ours).cloned().collect();
    (of_ours(program), of_ours(tests))
}

#[test]
fn crates_import_only_what_the_design_allows() {
    let manifests = manifests();
    let ours: BTreeSet<String> = manifests.keys().cloned().collect();
    assert!(ours.len() >= 9, "crates are missing: {ours:?}");
    let mut refused = Vec::new();
    for (name, manifest) in &manifests {
        if MAY_IMPORT_ALL.contains(&name.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(known, _)| known == name) else {
            refused.push(format!("{name} is not in the table"));
            continue;
        };
        let (program, tests) = imports(manifest, &ours);
        let refuse = |import: &String| !allowed.contains(&import.as_str());
        refused.extend(program.iter().filter(|i| refuse(i)).map(|i| format!("{name} → {i}")));
        let in_tests = |import: &String| {
            refuse(import) && !MAY_IMPORT_IN_TESTS.contains(&(name.as_str(), import.as_str()))
        };
        let tests = tests.iter().filter(|import| in_tests(import));
        refused.extend(tests.map(|import| format!("{name} → {import}, in tests")));
    }
    assert!(refused.is_empty(), "edges that the design does not have: {refused:#?}");
}

#[test]
fn an_edge_is_seen_however_it_is_written() {
    let ours: BTreeSet<String> = ["value", "engine", "store"].map(str::to_owned).into();
    let check = |manifest: &str, program: &[&str], tests: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(imports(manifest, &ours), (names(program), names(tests)), "{manifest}");
    };
    check("[dependencies]\nvalue.workspace = true\nserde = \"1\"", &["value"], &[]);
    check("[dependencies]\nvalue = { workspace = true } # engine = 1", &["value"], &[]);
    check("[dev-dependencies]\nstore.workspace = true", &[], &["store"]);
    check("[dependencies.engine]\npath = \"../engine\"", &["engine"], &[]);
    check("[target.'cfg(unix)'.dependencies]\nengine.workspace = true", &["engine"], &[]);
    check("[build-dependencies]\nengine.workspace = true", &["engine"], &[]);
    check("[dependencies]\ndata = { path = \"..\", package = \"engine\" }", &["engine"], &[]);
    check("[package]\nname = \"value\"", &[], &[]);
}

/// Files below `folder` that end in `.ext`; not what tools put there.
fn files(folder: &Path, ext: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.starts_with('.') || name == "node_modules" || name == "target" {
            continue;
        }
        if path.is_dir() {
            files(&path, ext, found);
        } else if path.extension().is_some_and(|found| found == ext) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["crates", "tests", "benches"] {
        files(&root().join(folder), "rs", &mut found);
    }
    assert!(found.len() > 100, "sources are missing");
    found
}

fn is_test_code(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("/tests/") || text.ends_with("tests.rs")
}

#[test]
fn files_can_be_read_from_top_to_bottom() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
        // A module says at its head what room it is; tests beside the code belong to that room.
        if !text.starts_with("//!") && !is_test_code(&path) {
            wrong.push(format!("{} has no head", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Targets of `[text](target)` in Markdown, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push(target.split(' ').next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

/// Paths of ours that stand in `backticks` in Markdown: they begin with a folder of the top level.
fn paths(text: &str) -> Vec<String> {
    let tops = ["crates/", "tests/", "schema/", "docs/", "benches/", "apps/", ".ci/"];
    let spans = text.split('`').skip(1).step_by(2);
    let is_path = |span: &&str| {
        tops.iter().any(|top| span.starts_with(top))
            && !span.contains(['*', '…', '{', '<', ' ', '\n', ':', '#'])
    };
    spans.filter(is_path).map(str::to_owned).collect()
}

#[test]
fn papers_name_files_that_exist() {
    let mut papers = Vec::new();
    files(&root().join("docs"), "md", &mut papers);
    let top = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    papers.extend(top.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    let mut absent = Vec::new();
    for paper in papers {
        let text = std::fs::read_to_string(&paper).unwrap();
        let folder = paper.parent().expect("a file is in a folder");
        for target in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                absent.push(format!("{}: {target}", paper.display()));
            }
        }
        for path in paths(&text).into_iter().filter(|path| !root().join(path).exists()) {
            absent.push(format!("{}: {path}", paper.display()));
        }
    }
    assert!(absent.is_empty(), "files that do not exist: {absent:#?}");
}
