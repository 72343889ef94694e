//! Which tables and columns an export has. Source: spec/http-api.md 11.4.
//!
//!     {"_other": "excluded", "": {"_other": "excluded", "users": {"_other": "included", "secret": "excluded"}}}
//!
//! Components come first; the root, the only one there is, has the name "".

use std::collections::BTreeMap;
use std::sync::Arc;

use functions::TableFilter;
use serde_json::Value as Tree;
use value::TableName;

/// Names with what holds for each, and for all others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice<T> {
    named: BTreeMap<String, T>,
    /// What holds for others; `None`: they are excluded.
    other: Option<T>,
}

impl<T> Choice<T> {
    fn get(&self, name: &str) -> Option<&T> {
        self.named.get(name).or(self.other.as_ref())
    }
}

/// Which columns of a table are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns(Choice<bool>);

impl Columns {
    fn all() -> Columns {
        Columns(Choice { named: BTreeMap::new(), other: Some(true) })
    }

    /// Whether a column is selected; the id always is.
    pub(super) fn has(&self, column: &str) -> bool {
        column == "_id" || self.0.get(column) == Some(&true)
    }
}

/// Which tables of the root component are there, with which columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection(Choice<Option<Columns>>);

impl Selection {
    pub(super) fn everything() -> Selection {
        Selection(Choice { named: BTreeMap::new(), other: Some(Some(Columns::all())) })
    }

    fn nothing() -> Selection {
        Selection(Choice { named: BTreeMap::new(), other: None })
    }

    pub(super) fn of_table(table: &str) -> Selection {
        let named = BTreeMap::from([(table.to_owned(), Some(Columns::all()))]);
        Selection(Choice { named, other: None })
    }

    /// Reads the object form. Errors: what is wrong with it.
    pub(super) fn read(tree: &Tree) -> Result<Selection, String> {
        let components = choice(tree, "the selection", &|tree, place| match word(tree) {
            Some(true) => Ok(Selection::everything()),
            Some(false) => Ok(Selection::nothing()),
            None => Ok(Selection(choice(tree, place, &|tree, place| match word(tree) {
                Some(true) => Ok(Some(Columns::all())),
                Some(false) => Ok(None),
                None => Ok(Some(columns(tree, place)?)),
            })?)),
        })?;
        Ok(components.get("").cloned().unwrap_or_else(Selection::nothing))
    }

    /// The columns of a table; `None`: it is not selected.
    pub(super) fn columns(&self, table: &str) -> Option<&Columns> {
        self.0.get(table)?.as_ref()
    }

    /// For the reading of pages.
    pub(super) fn filter(&self) -> TableFilter {
        let selection = self.clone();
        Arc::new(move |_, table: &TableName| selection.columns(table.as_str()).is_some())
    }
}

fn columns(tree: &Tree, place: &str) -> Result<Columns, String> {
    let columns = choice(tree, place, &|tree, place| {
        word(tree).ok_or_else(|| format!("{place} is neither \"included\" nor \"excluded\""))
    })?;
    if columns.named.get("_id") == Some(&false) {
        return Err(format!("{place} excludes `_id`, which every document has"));
    }
    Ok(Columns(columns))
}

/// An object of names with `_other`. What `included` others are, `inside` reads like a named one.
fn choice<T>(
    tree: &Tree,
    place: &str,
    inside: &dyn Fn(&Tree, &str) -> Result<T, String>,
) -> Result<Choice<T>, String> {
    let fields = tree.as_object().ok_or_else(|| format!("{place} is not an object"))?;
    let other = match fields.get("_other").map(word) {
        Some(Some(true)) => Some(inside(&Tree::String("included".to_owned()), place)?),
        Some(Some(false)) => None,
        Some(None) | None => {
            return Err(format!("{place} has no `_other`: \"included\" or \"excluded\""));
        }
    };
    let mut named = BTreeMap::new();
    for (name, tree) in fields.iter().filter(|(name, _)| *name != "_other") {
        named.insert(name.clone(), inside(tree, &format!("{place}, {name:?}"))?);
    }
    Ok(Choice { named, other })
}

fn word(tree: &Tree) -> Option<bool> {
    match tree.as_str()? {
        "included" | "incl" => Some(true),
        "excluded" | "excl" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_selected() {
        let check = |tree: Tree, expected: &[(&str, &str, bool)]| {
            let selection = Selection::read(&tree).unwrap();
            for (table, column, selected) in expected {
                let columns = selection.columns(table);
                let found = columns.is_some_and(|columns| columns.has(column));
                assert_eq!(found, *selected, "{tree} {table} {column}");
            }
        };
        check(json!({"_other":"included"}), &[("a", "x", true), ("a", "_id", true)]);
        check(json!({"_other":"excluded"}), &[("a", "x", false)]);
        check(json!({"_other":"incl","":"excl"}), &[("a", "x", false)]);
        check(json!({"_other":"excluded","":"included"}), &[("a", "x", true)]);
        check(json!({"_other":"included","other/component":"excluded"}), &[("a", "x", true)]);
        let tables = json!({"_other":"excluded","":{"_other":"included","a":"excluded"}});
        check(tables, &[("a", "x", false), ("b", "x", true)]);
        let columns = json!({"_other":"excluded","":{"_other":"excluded",
            "a":{"_other":"excluded","x":"included"},"b":{"_other":"incl","x":"excl"}}});
        check(
            columns,
            &[
                ("a", "x", true),
                ("a", "y", false),
                ("a", "_id", true),
                ("b", "x", false),
                ("b", "y", true),
                ("b", "_creationTime", true),
                ("c", "x", false),
            ],
        );
    }

    #[test]
    fn bad_selections() {
        for (tree, expected) in [
            (json!([]), "the selection is not an object"),
            (json!({}), "the selection has no `_other`"),
            (json!({"_other":true}), "the selection has no `_other`"),
            (json!({"_other":"incl","":7}), "\"\" is not an object"),
            (json!({"_other":"incl","":{"a":"excluded"}}), "\"\" has no `_other`"),
            (json!({"_other":"incl","":{"_other":"incl","a":{"_other":"incl","x":1}}}), "\"x\""),
            (
                json!({"_other":"incl","":{"_other":"incl","a":{"_other":"incl","_id":"excl"}}}),
                "excludes `_id`",
            ),
        ] {
            let error = Selection::read(&tree).unwrap_err();
            assert!(error.contains(expected), "{tree}: {error}");
        }
    }
}
