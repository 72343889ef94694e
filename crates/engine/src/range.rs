//! From the bounds of `withIndex` to an interval of index keys, and from a document to its key.
//!
//! ```text
//! key of an index   = field values … _creationTime, then the `_id` string   (`value::key`)
//! key of by_id      = the 16 raw bytes of the internal id
//! ```
//!
//! Bounds are equalities on leading fields, then at most one lower and one upper bound on the next
//! field. The calls may come in any order. An interval without keys is no error.
//!
//! Every complete key or prefix `p` of values is followed by a tag, never by `ff`. So all keys that
//! continue `p` lie in `[p, p·ff)`. `[p, increment(p))` would be wrong: it also holds the keys of
//! strings that continue the last value of `p` with a zero byte, which is written `00 ff`.
//!
//! (Whoever scans by a prefix of values uses [`continuing`], not `Interval::prefix`.)
//!
//! May use value. Source: spec/data-model.md, legal index ranges.

use value::{FieldPath, InternalId, Interval, Object, TableNumber, Value, ids, key};

/// The last component of every index key, never named by an index.
const ID_FIELD: &str = "_id";
/// A byte above every tag of the key encoding.
const ABOVE_EVERY_TAG: u8 = 0xff;

/// How a bound compares the field with its value, in the total order with missing as the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeOp {
    /// Equal.
    Eq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
}

/// One call on the builder of an index range, such as `q.gte("lastSeen", 5)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeBound {
    /// The comparison.
    pub op: RangeOp,
    /// A field of the index, `_creationTime` and `_id` included.
    pub field: FieldPath,
    /// What the field is compared with; `None` is the missing value.
    pub value: Option<Value>,
}

impl RangeBound {
    /// The bound `field op value`.
    pub fn new(op: RangeOp, field: FieldPath, value: Option<Value>) -> Self {
        Self { op, field, value }
    }
}

/// Bounds that do not describe a range of the index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RangeError {
    /// The official short code: `FieldNotInIndex`, `AlreadyDefinedBound`, `BoundsOnMultipleFields`
    /// or `InvalidIndexRange`.
    pub code: &'static str,
    /// What is wrong, naming the field and the fields of the index.
    pub message: String,
}

/// The interval of the keys that satisfy all `bounds`.
///
/// `fields` are those of the index with the appended `_creationTime`, without `_id`. For `by_id`
/// use [`interval_by_id`]. Equalities alone give `[p, p·ff)` (see the head of this module).
/// Errors: the four codes of [`RangeError`].
pub fn interval(fields: &[FieldPath], bounds: &[RangeBound]) -> Result<Interval, RangeError> {
    let plan = Plan::new(fields, bounds)?;
    let mut prefix = Vec::new();
    for value in &plan.equal {
        key::encode(*value, &mut prefix);
    }
    let start = match plan.lower {
        None => prefix.clone(),
        Some(Edge { value, inclusive: true, .. }) => continued(&prefix, value),
        Some(Edge { value, inclusive: false, .. }) => above_all(continued(&prefix, value)),
    };
    let end = match plan.upper {
        None if prefix.is_empty() => None,
        None => Some(above_all(prefix)),
        Some(Edge { value, inclusive: false, .. }) => Some(continued(&prefix, value)),
        Some(Edge { value, inclusive: true, .. }) => Some(above_all(continued(&prefix, value))),
    };
    Ok(not_reversed(start, end))
}

/// The interval of the keys of `by_id` that satisfy all `bounds`, each on `_id`.
///
/// Ids compare as the strings that users see, also with strings that are no ids of `table` and
/// with values of other types. Errors: as [`interval`].
pub fn interval_by_id(table: TableNumber, bounds: &[RangeBound]) -> Result<Interval, RangeError> {
    let plan = Plan::new(&[], bounds)?;
    if let [value] = plan.equal.as_slice() {
        let start = first_id(table, *value, IdEdge::AtOrAfter);
        return Ok(match (start, first_id(table, *value, IdEdge::After)) {
            (Some(id), next) if next != Some(id) => Interval::point(&id.0),
            _ => Interval::empty(),
        });
    }
    let start = match plan.lower {
        None => Vec::new(),
        Some(Edge { value, inclusive, .. }) => {
            let edge = if inclusive { IdEdge::AtOrAfter } else { IdEdge::After };
            match first_id(table, value, edge) {
                Some(id) => id.0.to_vec(),
                None => return Ok(Interval::empty()),
            }
        }
    };
    let end = plan.upper.and_then(|Edge { value, inclusive, .. }| {
        first_id(table, value, if inclusive { IdEdge::After } else { IdEdge::AtOrAfter })
    });
    Ok(not_reversed(start, end.map(|id| id.0.to_vec())))
}

/// The key of a document in an index on `fields` (with `_creationTime`, without `_id`).
///
/// A field that is absent, or behind something that is no object, is the missing component. The
/// key ends with the `_id` of `body`, so no two documents of a table have the same.
pub fn key_of(fields: &[FieldPath], body: &Object) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        key::encode(body.get_path(field), &mut bytes);
    }
    key::encode(body.get(ID_FIELD), &mut bytes);
    bytes
}

/// The keys that are `values`, or continue with more values behind them.
///
/// `values` is whole encoded values, such as [`interval`] makes of equalities.
pub fn continuing(values: &[u8]) -> Interval {
    Interval { start: values.to_vec(), end: Some(above_all(values.to_vec())) }
}

/// One end of a range.
#[derive(Clone, Copy)]
struct Edge<'a> {
    field: &'a FieldPath,
    position: usize,
    value: Option<&'a Value>,
    inclusive: bool,
}

/// Checked bounds: equalities on the leading fields in index order, and the ends on the next one.
struct Plan<'a> {
    equal: Vec<Option<&'a Value>>,
    lower: Option<Edge<'a>>,
    upper: Option<Edge<'a>>,
}

impl<'a> Plan<'a> {
    fn new(fields: &[FieldPath], bounds: &'a [RangeBound]) -> Result<Self, RangeError> {
        // One place per field of the index and one for `_id`.
        let mut equal: Vec<Option<&'a RangeBound>> = vec![None; fields.len() + 1];
        let (mut lower, mut upper) = (None, None);
        for bound in bounds {
            let position = position_of(fields, &bound.field)?;
            let inclusive = match bound.op {
                RangeOp::Eq | RangeOp::Gte | RangeOp::Lte => true,
                RangeOp::Gt | RangeOp::Lt => false,
            };
            let edge =
                Edge { field: &bound.field, position, value: bound.value.as_ref(), inclusive };
            match bound.op {
                RangeOp::Eq if equal[position].is_some() => {
                    return Err(already_defined("two equalities", &bound.field));
                }
                RangeOp::Eq => equal[position] = Some(bound),
                RangeOp::Gt | RangeOp::Gte => set_edge(&mut lower, edge, "two lower bounds")?,
                RangeOp::Lt | RangeOp::Lte => set_edge(&mut upper, edge, "two upper bounds")?,
            }
        }
        for edge in [lower, upper].into_iter().flatten() {
            if equal[edge.position].is_some() {
                return Err(already_defined("an equality and another bound", edge.field));
            }
        }
        if let (Some(lower), Some(upper)) = (lower, upper)
            && lower.position != upper.position
        {
            return Err(on_multiple_fields(lower.field, upper.field));
        }
        let leading = equal.iter().take_while(|bound| bound.is_some()).count();
        let behind = equal[leading..].iter().flatten().next().map(|bound| &bound.field);
        let misplaced = lower.or(upper).filter(|edge| edge.position != leading);
        if let Some(field) = behind.or(misplaced.map(|edge| edge.field)) {
            return Err(not_a_prefix(fields, leading, field));
        }
        let equal = equal.into_iter().flatten().map(|bound| bound.value.as_ref()).collect();
        Ok(Self { equal, lower, upper })
    }
}

fn set_edge<'a>(
    place: &mut Option<Edge<'a>>,
    edge: Edge<'a>,
    found: &str,
) -> Result<(), RangeError> {
    if place.is_some() {
        return Err(already_defined(found, edge.field));
    }
    *place = Some(edge);
    Ok(())
}

/// The place of `field` in the key: `_id` comes after all fields of the index.
fn position_of(fields: &[FieldPath], field: &FieldPath) -> Result<usize, RangeError> {
    let found = fields.iter().position(|candidate| candidate == field);
    let id = || (field.as_str() == ID_FIELD).then_some(fields.len());
    found.or_else(id).ok_or_else(|| RangeError {
        code: "FieldNotInIndex",
        message: format!("the field \"{field}\" is not in the index on {}", list(fields)),
    })
}

/// `prefix` and the encoded `value` behind it.
fn continued(prefix: &[u8], value: Option<&Value>) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    key::encode(value, &mut bytes);
    bytes
}

/// Just above every key that is `values` or continues with more values.
fn above_all(mut values: Vec<u8>) -> Vec<u8> {
    values.push(ABOVE_EVERY_TAG);
    values
}

fn not_reversed(start: Vec<u8>, end: Option<Vec<u8>>) -> Interval {
    if end.as_ref().is_some_and(|end| *end <= start) {
        return Interval::empty();
    }
    Interval { start, end }
}

#[derive(Clone, Copy)]
enum IdEdge {
    AtOrAfter,
    After,
}

/// The first id of `table` at or after `value`; `None` if all ids sort before it.
fn first_id(table: TableNumber, value: Option<&Value>, edge: IdEdge) -> Option<InternalId> {
    match value {
        // The least string that is greater than `text` is `text` with a zero character.
        Some(Value::String(text)) => match edge {
            IdEdge::AtOrAfter => ids::first_internal_at_or_after(table, text),
            IdEdge::After => ids::first_internal_at_or_after(table, &format!("{text}\0")),
        },
        other if other < Some(&Value::String(String::new())) => {
            ids::first_internal_at_or_after(table, "")
        }
        _ => None,
    }
}

fn already_defined(found: &str, field: &FieldPath) -> RangeError {
    RangeError {
        code: "AlreadyDefinedBound",
        message: format!("the range has {found}, the last on \"{field}\""),
    }
}

fn on_multiple_fields(lower: &FieldPath, upper: &FieldPath) -> RangeError {
    RangeError {
        code: "BoundsOnMultipleFields",
        message: format!(
            "lower and upper bound must be on the same field, found \"{lower}\" and \"{upper}\""
        ),
    }
}

fn not_a_prefix(fields: &[FieldPath], leading: usize, field: &FieldPath) -> RangeError {
    let missing = fields.get(leading).map_or_else(|| ID_FIELD.to_owned(), ToString::to_string);
    RangeError {
        code: "InvalidIndexRange",
        message: format!(
            "the bound on \"{field}\" needs an equality on \"{missing}\" before it: a range of the \
             index on {} bounds its first fields, equalities first",
            list(fields)
        ),
    }
}

fn list(fields: &[FieldPath]) -> String {
    let names: Vec<String> = fields.iter().map(|field| format!("\"{field}\"")).collect();
    format!("[{}]", [names, vec![format!("\"{ID_FIELD}\"")]].concat().join(", "))
}

#[cfg(test)]
mod tests;
