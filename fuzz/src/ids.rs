//! Ids of documents and sessions, names, paths, timestamps and versions: the small texts.

use protocol::{ClientVersion, SessionId};
use value::{
    ComponentPath, DocumentId, FieldPath, FunctionPath, IndexName, InternalId, TableName,
    TableNumber, Timestamp, ids,
};

/// Each line as every kind of small text, and the input as the bytes of ids.
pub fn ids(data: &[u8]) {
    let mut previous: Option<&str> = None;
    for line in super::lines(data) {
        document_id(line);
        names(line);
        paths(line);
        versions(line);
        for number in [1, 10_001, u32::MAX] {
            bounds(TableNumber(number), line, previous);
        }
        previous = Some(line);
    }
    made(data);
}

fn document_id(text: &str) {
    if let Ok(id) = text.parse::<DocumentId>() {
        assert_eq!(id.to_string(), text, "an id has one text");
        assert!(id.table.0 != 0);
        assert_eq!(ids::first_internal_at_or_after(id.table, text), Some(id.internal));
    }
}

/// The bound of a text is the least id at or after it, and never falls as texts rise.
fn bounds(table: TableNumber, text: &str, previous: Option<&str>) {
    let found = ids::first_internal_at_or_after(table, text);
    if let Some(internal) = found {
        assert!(DocumentId::new(table, internal).to_string().as_str() >= text);
        let below = u128::from_be_bytes(internal.0).checked_sub(1);
        if let Some(below) = below {
            let below = DocumentId::new(table, InternalId(below.to_be_bytes()));
            assert!(below.to_string().as_str() < text);
        }
    }
    let Some(previous) = previous else { return };
    let before = ids::first_internal_at_or_after(table, previous);
    let ascending = |low: Option<InternalId>, high: Option<InternalId>| match (low, high) {
        (Some(low), Some(high)) => low <= high,
        (_, None) => true,
        (None, Some(_)) => false,
    };
    let ordered = if previous <= text { (before, found) } else { (found, before) };
    assert!(ascending(ordered.0, ordered.1), "{previous:?} {text:?}");
}

/// Four bytes of a table number and sixteen of an id: written and read; one changed character and
/// it is another id, or none.
fn made(data: &[u8]) {
    let Some((number, rest)) = data.split_first_chunk::<4>() else { return };
    let Some((internal, rest)) = rest.split_first_chunk::<16>() else { return };
    let number = u32::from_be_bytes(*number).max(1);
    let id = DocumentId::new(TableNumber(number), InternalId(*internal));
    let text = id.to_string();
    assert_eq!(text.parse(), Ok(id));
    let [at, byte, ..] = rest else { return };
    let mut changed = text.clone().into_bytes();
    let at = usize::from(*at) % changed.len();
    changed[at] = *byte;
    let Ok(changed) = String::from_utf8(changed) else { return };
    if let Ok(other) = changed.parse::<DocumentId>() {
        assert_eq!(other == id, changed == text);
    }
    for cut in 0..text.len() {
        let shorter = text[..cut].parse::<DocumentId>();
        assert!(shorter.is_err(), "{text} cut to {cut}");
    }
}

fn names(text: &str) {
    if let Ok(name) = TableName::new(text) {
        assert_eq!((name.as_str(), name.is_system()), (text, text.starts_with('_')));
        assert_eq!(IndexName::new(text).map(|name| name.to_string()).as_deref(), Ok(text));
    }
    if let Ok(path) = FieldPath::new(text) {
        // Dots at both ends are dropped.
        assert_eq!(path.segments().collect::<Vec<_>>().join("."), text.trim_matches('.'));
        assert_eq!(FieldPath::new(path.as_str()).as_ref(), Ok(&path));
    }
    if let Ok(path) = ComponentPath::new(text) {
        assert_eq!((path.as_str(), path.is_root()), (text, text.is_empty()));
    }
}

fn paths(text: &str) {
    let Ok(path) = FunctionPath::new(text) else { return };
    assert_eq!(FunctionPath::new(&path.to_string()).as_ref(), Ok(&path), "{text}");
    assert_eq!(FunctionPath::new(&path.with_js()).as_ref(), Ok(&path), "{text}");
    assert!(!path.module().is_empty() && !path.function().is_empty());
    assert!(path.to_string().len() <= text.len() + ":default".len());
}

fn versions(text: &str) {
    if let Ok(ts) = Timestamp::from_wire(text) {
        assert_eq!(ts.to_wire(), text);
        assert!(ts.pred() <= ts && ts <= ts.succ() && ts.as_ms_f64() >= 0.0);
    }
    if let Ok(session) = text.parse::<SessionId>() {
        assert_eq!(session.to_string().parse(), Ok(session));
    }
    if let Ok(version) = ClientVersion::resolve(Some(text), None) {
        // What follows a plus is not shown, so a name that holds a version may read as another.
        if !text.contains('+') {
            let again = ClientVersion::resolve(Some(&version.to_string()), None);
            assert_eq!(again.as_ref(), Ok(&version), "{text}");
        }
        let _ = (version.support(), version.takes_chunks());
    }
    let _ = ClientVersion::resolve(None, Some(text)).map(|version| version.support());
}
