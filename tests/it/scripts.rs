//! Runs every script in `scripts/`. With UPDATE=1 their outputs are written anew; read the difference.

use std::path::Path;

use functions::Application;
use tests::app::base;
use tests::script;

fn find(name: &str) -> Application {
    let app = match name {
        "base" => base(),
        "presence" => presence::app(),
        other => panic!("no application {other}"),
    };
    app.build().expect("the application is sound")
}

#[test]
fn scripts_give_what_is_written_in_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "scripts are missing");
    for path in paths {
        let script = std::fs::read_to_string(&path).unwrap();
        let actual = script::run(&script, find);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, actual).unwrap();
        } else {
            assert_eq!(script, actual, "{}", path.display());
        }
    }
}
