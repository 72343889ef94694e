//! Which names are legal.

use proptest::prelude::*;

use super::*;

#[test]
fn identifiers() {
    let check = |text: &str, expected| assert_eq!(is_identifier(text), expected, "{text:?}");
    check("a", true);
    check("_a1", true);
    check("aZ_9", true);
    check("_", false);
    check("___", false);
    check("", false);
    check("1a", false);
    check("a-b", false);
    check("a b", false);
    check("é", false);
    check(&"a".repeat(64), true);
    check(&"a".repeat(65), false);
}

#[test]
fn field_paths() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(FieldPath::new(text).ok().as_ref().map(FieldPath::as_str), expected, "{text:?}");
    };
    check("a", Some("a"));
    check("a.b_c.d", Some("a.b_c.d"));
    check(".a.b.", Some("a.b"));
    check("_id", Some("_id"));
    check("", None);
    check("...", None);
    check("a..b", None);
    check("a.b-c", None);
}

#[test]
fn paths_look_into_objects() {
    let object =
        crate::object! { "a" => crate::object! { "b" => 1.0 }, "c" => Vec::<crate::Value>::new() };
    let get = |path| object.get_path(&FieldPath::new(path).unwrap()).cloned();
    assert_eq!(get("a.b"), Some(1.0.into()));
    assert_eq!(get("a.x"), None);
    assert_eq!(get("a.b.c"), None);
    assert_eq!(get("c.x"), None);
}

#[test]
fn system_names() {
    assert!(TableName::new("_tables").unwrap().is_system());
    assert!(!TableName::new("rooms").unwrap().is_system());
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in prop_oneof![".*", "[a-z_.0-9]{0,9}"]) {
        let read = FieldPath::new(&text);
        if let Ok(path) = read {
            prop_assert_eq!(FieldPath::new(path.as_str()), Ok(path));
        }
        prop_assert_eq!(TableName::new(&text).is_ok(), is_identifier(&text));
    }
}
