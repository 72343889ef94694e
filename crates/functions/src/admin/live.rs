//! Read sets and causes in words: tables, indexes and values instead of bytes.

use std::collections::HashMap;
use std::sync::Arc;

use engine::read_set::ReadSet;
use engine::{Catalog, IndexDef, IndexId, IndexKind, WriteKind};
use value::{DocumentId, InternalId, Interval, Timestamp, Value, json, key};

use crate::live::Cause;

/// Longest key that is shown by its values, in bytes; of longer ones the beginning is shown as hex.
pub const KEY_BYTES_SHOWN_MAX: usize = 2048;
/// Bytes shown of those.
const KEY_BYTES_CUT: usize = 64;

/// What there is by its number in the store.
pub struct Names {
    indexes: HashMap<IndexId, Arc<IndexDef>>,
}

/// What an interval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalKind {
    /// All keys.
    All,
    /// Those that begin with some values.
    Prefix,
    /// One key.
    Key,
    /// Those between two bounds.
    Range,
}

/// An interval that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadInterval {
    /// The table; empty when it is gone.
    pub table: String,
    /// The index; empty when it is gone.
    pub index: String,
    /// The fields of its keys in order; of `by_id`, `_id` alone.
    pub fields: Vec<String>,
    /// What it is.
    pub kind: IntervalKind,
    /// Where it begins; of a prefix or key, its values.
    pub from: Bound,
    /// Where it ends; none: nowhere, or as `from` says.
    pub to: Option<Bound>,
    /// All of it in one line.
    pub text: String,
}

/// A place between keys: before or after all that begin with some values.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The values.
    pub values: BoundValues,
    /// After, not before.
    pub after: bool,
}

/// The values of a place.
#[derive(Clone, Debug, PartialEq)]
pub enum BoundValues {
    /// One for each leading field; none: the field is missing.
    Values(Vec<Option<Value>>),
    /// Bytes that are no values, or too many, as hex; cut.
    Bytes(String),
}

/// A commit that wrote into what was read, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct CauseView {
    /// The commit; its time is its number.
    pub ts: Timestamp,
    /// What committed: a function, or `(admin)`; none: the system.
    pub function: Option<String>,
    /// How it came to run: `client`, `admin`, `action`, `scheduled`, `cron`, or `system`.
    pub origin: &'static str,
    /// The request that asked for it.
    pub request: Option<String>,
    /// The table; empty when it is gone.
    pub table: String,
    /// The index in which the written key had been read.
    pub index: String,
    /// `appeared`, `changed` or `vanished`.
    pub change: &'static str,
    /// The document.
    pub document: Option<DocumentId>,
    /// The key that was hit.
    pub key: Bound,
    /// Commits that came on top before the query ran.
    pub more: u32,
}

impl Names {
    pub(super) fn new(catalog: &Catalog) -> Names {
        let indexes = catalog.tables().flat_map(|table| &table.indexes);
        Names { indexes: indexes.map(|index| (index.id, Arc::clone(index))).collect() }
    }

    /// The intervals of a read set, at most `limit`, with how many there are.
    pub fn intervals(&self, reads: &ReadSet, limit: usize) -> (Vec<ReadInterval>, usize) {
        let shown = reads.intervals().take(limit);
        let shown = shown.map(|(index, interval)| self.interval(index, interval)).collect();
        (shown, reads.interval_count())
    }

    /// A cause in words.
    pub fn cause(&self, cause: &Cause) -> CauseView {
        let index = self.indexes.get(&cause.index).map(AsRef::as_ref);
        let source = cause.source.as_deref();
        CauseView {
            ts: cause.ts,
            function: source.map(|source| source.name.to_string()),
            origin: source.map_or("system", |source| source.via),
            request: source.and_then(|source| source.request.as_deref().map(str::to_owned)),
            table: index.map(|index| index.table.to_string()).unwrap_or_default(),
            index: index.map(|index| index.name.to_string()).unwrap_or_default(),
            change: match cause.kind {
                WriteKind::Appeared => "appeared",
                WriteKind::Changed => "changed",
                WriteKind::Vanished => "vanished",
            },
            document: index.and_then(|index| document_of(index, &cause.key)),
            key: bound(index, &cause.key),
            more: cause.more,
        }
    }

    fn interval(&self, id: IndexId, interval: &Interval) -> ReadInterval {
        let index = self.indexes.get(&id).map(AsRef::as_ref);
        let kind = kind_of(interval);
        let from = bound(index, &interval.start);
        let to = match kind {
            IntervalKind::All | IntervalKind::Prefix | IntervalKind::Key => None,
            IntervalKind::Range => interval.end.as_deref().map(|end| bound(index, end)),
        };
        let fields = match index {
            Some(index) if index.kind == IndexKind::ById => vec!["_id".to_owned()],
            Some(index) => {
                let fields = index.fields.iter().map(ToString::to_string);
                fields.chain(["_id".to_owned()]).collect()
            }
            None => Vec::new(),
        };
        let text = text_of(&fields, kind, &from, to.as_ref());
        let table = index.map(|index| index.table.to_string()).unwrap_or_default();
        let index = index.map(|index| index.name.to_string()).unwrap_or_default();
        ReadInterval { table, index, fields, kind, from, to, text }
    }
}

/// One key, or those that begin with some values, or something else.
fn kind_of(interval: &Interval) -> IntervalKind {
    let start = interval.start.as_slice();
    match interval.end.as_deref() {
        None if start.is_empty() => IntervalKind::All,
        Some([key @ .., 0x00]) if key == start => IntervalKind::Key,
        Some([prefix @ .., 0xff]) if prefix == start => IntervalKind::Prefix,
        None | Some(_) => IntervalKind::Range,
    }
}

/// A place in an index. A byte after the last value says on which side it is.
fn bound(index: Option<&IndexDef>, bytes: &[u8]) -> Bound {
    let hex = || {
        let cut = &bytes[..bytes.len().min(KEY_BYTES_CUT)];
        let dots = if cut.len() < bytes.len() { "…" } else { "" };
        let digits: String = cut.iter().map(|byte| format!("{byte:02x}")).collect();
        BoundValues::Bytes(format!("{digits}{dots}"))
    };
    match index {
        Some(index) if index.kind == IndexKind::ById => match bytes.split_first_chunk::<16>() {
            Some((id, rest)) if rest.is_empty() || rest == [0] => {
                let id = DocumentId::new(index.number, InternalId(*id));
                let values = BoundValues::Values(vec![Some(Value::from(id.to_string()))]);
                Bound { values, after: !rest.is_empty() }
            }
            None if bytes.is_empty() => {
                Bound { values: BoundValues::Values(Vec::new()), after: false }
            }
            Some(_) | None => Bound { values: hex(), after: false },
        },
        Some(_) | None if bytes.len() > KEY_BYTES_SHOWN_MAX => {
            Bound { values: hex(), after: false }
        }
        Some(_) | None => match values_of(bytes) {
            Some((values, after)) => Bound { values: BoundValues::Values(values), after },
            None => Bound { values: hex(), after: false },
        },
    }
}

/// Values one after another, then at most the byte that means "after all of them". That byte is looked
/// for last but taken off first: after the end of a string it reads as an escape.
fn values_of(bytes: &[u8]) -> Option<(Vec<Option<Value>>, bool)> {
    if let Ok(values) = key::decode_all(bytes) {
        return Some((values, false));
    }
    let (0x00 | 0xff, values) = bytes.split_last()? else { return None };
    key::decode_all(values).ok().map(|values| (values, true))
}

/// The document of a key: of `by_id` the key itself, else its last value.
fn document_of(index: &IndexDef, bytes: &[u8]) -> Option<DocumentId> {
    match index.kind {
        IndexKind::ById => Some(DocumentId::new(index.number, InternalId(bytes.try_into().ok()?))),
        IndexKind::Fields => {
            let values = key::decode_all(bytes).ok()?;
            values.last()?.as_ref()?.as_str()?.parse().ok()
        }
    }
}

fn text_of(fields: &[String], kind: IntervalKind, from: &Bound, to: Option<&Bound>) -> String {
    match kind {
        IntervalKind::All => "everything".to_owned(),
        IntervalKind::Prefix | IntervalKind::Key => match &from.values {
            BoundValues::Values(values) => {
                let names = fields.iter().map(String::as_str).chain(std::iter::repeat("?"));
                let pairs =
                    names.zip(values).map(|(name, v)| format!("{name} = {}", show(v.as_ref())));
                pairs.collect::<Vec<_>>().join(" and ")
            }
            BoundValues::Bytes(hex) => format!("bytes {hex}"),
        },
        IntervalKind::Range => {
            let side = |bound: &Bound| {
                let place = if bound.after { "after" } else { "before" };
                match &bound.values {
                    BoundValues::Values(values) => {
                        let values: Vec<_> = values.iter().map(|v| show(v.as_ref())).collect();
                        format!("{place} ({})", values.join(", "))
                    }
                    BoundValues::Bytes(hex) => format!("{place} bytes {hex}"),
                }
            };
            let starts = from.values != BoundValues::Values(Vec::new());
            let from = if starts { side(from) } else { "the beginning".to_owned() };
            let to = to.map_or("the end".to_owned(), side);
            format!("from {from} to {to}")
        }
    }
}

fn show(value: Option<&Value>) -> String {
    value.map_or("undefined".to_owned(), json::to_string)
}

#[cfg(test)]
mod tests {
    use engine::range::{self, RangeBound, RangeOp};
    use value::FieldPath;

    use super::*;

    fn fields() -> Vec<FieldPath> {
        ["room", "n", "_creationTime"].map(|name| FieldPath::new(name).unwrap()).to_vec()
    }

    fn said(bounds: &[(RangeOp, &str, Option<Value>)]) -> String {
        let bound = |(op, field, value): &(RangeOp, &str, Option<Value>)| {
            RangeBound::new(*op, FieldPath::new(field).unwrap(), value.clone())
        };
        let bounds: Vec<_> = bounds.iter().map(bound).collect();
        let interval = range::interval(&fields(), &bounds).unwrap();
        let names: Vec<String> = ["room", "n", "_creationTime", "_id"].map(str::to_owned).to_vec();
        let kind = kind_of(&interval);
        let to = interval.end.as_deref().map(|end| super::bound(None, end));
        text_of(&names, kind, &super::bound(None, &interval.start), to.as_ref())
    }

    #[test]
    fn ranges_in_words() {
        let a = || Some(Value::from("a"));
        let n = |n: f64| Some(Value::from(n));
        assert_eq!(said(&[]), "everything");
        assert_eq!(said(&[(RangeOp::Eq, "room", a())]), "room = \"a\"");
        assert_eq!(
            said(&[(RangeOp::Eq, "room", a()), (RangeOp::Eq, "n", None)]),
            "room = \"a\" and n = undefined"
        );
        assert_eq!(
            said(&[(RangeOp::Eq, "room", a()), (RangeOp::Gt, "n", n(1.0))]),
            "from after (\"a\", 1.0) to after (\"a\")"
        );
        assert_eq!(
            said(&[(RangeOp::Gte, "room", a()), (RangeOp::Lt, "room", Some(Value::from("b")))]),
            "from before (\"a\") to before (\"b\")"
        );
        assert_eq!(said(&[(RangeOp::Lte, "room", a())]), "from the beginning to after (\"a\")");
    }

    #[test]
    fn keys_that_are_no_values_or_too_long_are_cut() {
        let shown = |bytes: &[u8]| super::bound(None, bytes).values;
        assert_eq!(shown(&[0x7f, 1]), BoundValues::Bytes("7f01".to_owned()));
        let long = key::encode_all([Some(&Value::from("x".repeat(KEY_BYTES_SHOWN_MAX)))]);
        let BoundValues::Bytes(hex) = shown(&long) else { panic!("values") };
        assert_eq!(hex.chars().count(), 2 * KEY_BYTES_CUT + 1);
    }
}
