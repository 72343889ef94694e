//! The grammar of function and component paths.

use proptest::prelude::*;

use super::*;

#[test]
fn function_paths() {
    let check = |text: &str, display: &str, with_js: &str| {
        let path = FunctionPath::new(text).unwrap();
        assert_eq!((path.to_string().as_str(), path.with_js().as_str()), (display, with_js));
    };
    check("messages:list", "messages:list", "messages.js:list");
    check("messages.js:list", "messages:list", "messages.js:list");
    check("a/b_c/d:e", "a/b_c/d:e", "a/b_c/d.js:e");
    check("messages", "messages:default", "messages.js:default");
    check("messages.js", "messages:default", "messages.js:default");
    check("_system/cli/tables", "_system/cli/tables:default", "_system/cli/tables.js:default");
    check("a.b/c:f", "a.b/c:f", "a.b/c.js:f");
    check("a.b.js:f", "a.b.js:f", "a.b.js:f");
    check(".js:f", ".js:f", ".js.js:f");
    let longest = "a".repeat(61);
    check(&format!("{longest}:f"), &format!("{longest}:f"), &format!("{longest}.js:f"));
}

#[test]
fn refused_function_paths() {
    let check = |text: &str| assert!(FunctionPath::new(text).is_err(), "{text:?}");
    check("");
    check(":x");
    check("/x:y");
    check("x/:y");
    check("a//b:y");
    check("../a:y");
    check("./a:y");
    check("foo.ts:bar");
    check("foo.:bar");
    check("foo-bar:x");
    check("é:x");
    check("a:b:c");
    check("a:");
    check("a:1b");
    check("a:__");
    check("a:b-c");
    check(&format!("{}:f", "a".repeat(62)));
    check(&format!("a:{}", "f".repeat(65)));
}

#[test]
fn component_paths() {
    assert!(ComponentPath::new("").unwrap().is_root());
    assert_eq!(ComponentPath::new("outer/inner").unwrap().to_string(), "outer/inner");
    for bad in ["/", "/a", "a/", "a//b", "a-b", "a:b"] {
        assert!(ComponentPath::new(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(text in prop_oneof![".*", "[a./_:]{0,9}", "[a.js/]{0,9}:f"]) {
        if let Ok(path) = FunctionPath::new(&text) {
            prop_assert_eq!(FunctionPath::new(&path.to_string()), Ok(path.clone()));
            prop_assert_eq!(FunctionPath::new(&path.with_js()), Ok(path));
        }
        if let Ok(path) = ComponentPath::new(&text) {
            prop_assert_eq!(path.as_str(), text);
        }
    }
}
