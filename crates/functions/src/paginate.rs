//! Pages: cursors, end cursors, journals and when a page should be split.
//!
//!     (cursor ─────── rows ─────── end cursor]      start exclusive, end inclusive
//!
//! A cursor is a position in an index, not a document: what stood there may vanish. It is bound to
//! its query by a fingerprint, and to the deployment by its name. With an end cursor, given or from
//! the journal, everything up to it is the page. Source: spec/data-model.md 15.

use engine::{Order, Row, Transaction};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use value::validator::Validator;
use value::{Interval, object};

use crate::call::Frame;
use crate::error::{Error, Result};
use crate::instance::Purpose;
use crate::plan::{QueryPlan, Source, Step, Stream};
use crate::shape::{Shape, build};

/// Most items that may be asked for at once.
pub const PAGE_SIZE_MAX: usize = 32_000;
/// A page with more rows should be split: three quarters of the longest array.
const PAGE_ROWS_SOFT: usize = 6144;
const FINGERPRINT_BYTES: usize = 32;

/// What a client asks of a paginated query. Shape: `paginationOptsValidator`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaginationOptions {
    /// Items wanted; more or fewer may come.
    pub num_items: f64,
    /// Where to go on; None: at the beginning.
    pub cursor: Option<String>,
    /// Where the page ends, whatever its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_cursor: Option<String>,
    /// Tells apart pages of several lists of one client; no meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<f64>,
    /// Ends the page after so many rows, dropped ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_rows_read: Option<f64>,
    /// Ends the page after so many bytes of rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_bytes_read: Option<f64>,
}

/// One page.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaginationResult<D> {
    /// The documents.
    pub page: Vec<D>,
    /// Whether nothing lies behind `continue_cursor`.
    pub is_done: bool,
    /// Where the next page begins.
    pub continue_cursor: String,
    /// Where to cut the page in two; null for small ones.
    pub split_cursor: Option<String>,
    /// Whether it should be cut.
    pub page_status: Option<PageStatus>,
}

/// Whether a page should be cut in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageStatus {
    /// It comes near a limit.
    SplitRecommended,
    /// A limit was hit in the middle of it.
    SplitRequired,
}

impl<D> PaginationResult<D> {
    /// The page of a list that the caller may not see: nothing, and nothing behind it.
    pub fn empty() -> PaginationResult<D> {
        PaginationResult {
            page: Vec::new(),
            is_done: true,
            continue_cursor: String::new(),
            split_cursor: None,
            page_status: None,
        }
    }

    /// The same page of something else.
    pub fn map<E>(self, each: impl FnMut(D) -> E) -> PaginationResult<E> {
        PaginationResult {
            page: self.page.into_iter().map(each).collect(),
            is_done: self.is_done,
            continue_cursor: self.continue_cursor,
            split_cursor: self.split_cursor,
            page_status: self.page_status,
        }
    }
}

impl Shape for PaginationOptions {
    fn validator() -> Validator {
        build::object(vec![
            build::field::<f64>("numItems", false),
            build::field::<crate::Nullable<String>>("cursor", false),
            build::field::<crate::Nullable<String>>("endCursor", true),
            build::field::<f64>("id", true),
            build::field::<f64>("maximumRowsRead", true),
            build::field::<f64>("maximumBytesRead", true),
        ])
    }
}

impl<D: Shape> Shape for PaginationResult<D> {
    fn validator() -> Validator {
        build::object(vec![
            build::field::<Vec<D>>("page", false),
            build::field::<bool>("isDone", false),
            build::field::<String>("continueCursor", false),
            build::field::<crate::Nullable<String>>("splitCursor", true),
            build::field::<crate::Nullable<PageStatus>>("pageStatus", true),
        ])
    }
}

impl Shape for PageStatus {
    fn validator() -> Validator {
        build::union(vec![build::literal("SplitRecommended"), build::literal("SplitRequired")])
    }
}

/// A place in the rows of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    /// After the row with this key, in the order of the query.
    After(Vec<u8>),
    /// After all rows, also those to come.
    End,
}

/// What limits one page.
struct Bounds {
    items: usize,
    rows: usize,
    bytes: usize,
    end: Option<Position>,
}

/// Reads one page of `plan` for the function of `frame`.
pub(crate) fn paginate(
    frame: &Frame<'_>,
    plan: &QueryPlan,
    options: &PaginationOptions,
) -> Result<PaginationResult<Row>> {
    if frame.paginated.replace(true) {
        return Err(Error::coded(
            "MultiplePaginatedDatabaseQueries",
            "This query or mutation function ran multiple paginated queries. Only one paginated query is supported in each function.",
        ));
    }
    frame.call.with(|tx| {
        let source = plan.source(tx)?;
        let sealer = Sealer { frame, fingerprint: fingerprint(plan, source.as_ref()) };
        let start = options.cursor.as_deref().map(|cursor| sealer.open(cursor)).transpose()?;
        let end = match (&options.end_cursor, frame.call.journal_in(frame)) {
            (Some(end), _) => Some(sealer.open(end)?),
            (None, Some(journal)) => Some(sealer.read(journal)?),
            (None, None) => None,
        };
        let bounds = bounds(tx, options, end)?;
        let source = restricted(plan.order, source, start.as_ref(), bounds.end.as_ref());
        let stream = Stream::open(tx, plan, source);
        let page = read_page(tx, stream, &bounds, start)?;
        frame.call.set_journal(frame, &sealer.write(&page.end));
        Ok(PaginationResult {
            is_done: page.end == Position::End,
            continue_cursor: sealer.seal(&page.end),
            split_cursor: page.split.map(|key| sealer.seal(&Position::After(key))),
            page_status: page.status,
            page: page.rows,
        })
    })
}

/// The error that makes clients start a paginated list again.
pub(crate) fn invalid_cursor() -> Error {
    Error::Application {
        data: object! { "isConvexSystemError" => true, "paginationError" => "InvalidCursor" }
            .into(),
        message: "InvalidCursor: Tried to run a query starting from a cursor, but it looks like \
                  this cursor is from a different query."
            .to_string(),
    }
}

struct Page {
    rows: Vec<Row>,
    end: Position,
    split: Option<Vec<u8>>,
    status: Option<PageStatus>,
}

fn read_page(
    tx: &mut Transaction,
    mut stream: Stream,
    bounds: &Bounds,
    start: Option<Position>,
) -> Result<Page> {
    let (mut rows, mut keys, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut status = None;
    // From the very end there is nothing to read.
    let mut end = (start == Some(Position::End)).then_some(Position::End);
    while end.is_none() {
        let (row, passed) = match stream.step(tx)? {
            Step::Row(row) => (row, true),
            Step::Dropped(row) => (row, false),
            Step::End => {
                end = Some(bounds.end.clone().unwrap_or(Position::End));
                break;
            }
        };
        bytes += row.document.size();
        let key = row.key.to_vec();
        keys.push(key.clone());
        if passed {
            rows.push(row);
        }
        if bounds.end.is_some() {
            continue;
        }
        if rows.len() >= bounds.items {
            end = Some(Position::After(key));
        } else if keys.len() >= bounds.rows || bytes >= bounds.bytes {
            end = Some(Position::After(key));
            status = Some(PageStatus::SplitRequired);
        }
    }
    let near = |used: usize, limit: usize| used > limit - limit / 4;
    if status.is_none()
        && (near(keys.len(), bounds.rows)
            || near(bytes, bounds.bytes)
            || rows.len() > PAGE_ROWS_SOFT)
    {
        status = Some(PageStatus::SplitRecommended);
    }
    let split = (keys.len() > 2).then(|| keys.swap_remove((keys.len() - 1) / 2));
    Ok(Page { rows, end: end.unwrap_or(Position::End), split, status })
}

fn bounds(tx: &Transaction, options: &PaginationOptions, end: Option<Position>) -> Result<Bounds> {
    let items = options.num_items;
    if !(items.fract() == 0.0 && items >= 1.0) {
        let text = "Must request at least 1 document while paginating";
        return Err(Error::coded("NoDocumentsForPagination", text));
    }
    if items > PAGE_SIZE_MAX as f64 {
        let text = format!("Page size {items} is too large (limit: {PAGE_SIZE_MAX})");
        return Err(Error::coded("PageSizeTooLarge", text));
    }
    let maximum = |given: Option<f64>, name: &str, limit: usize| match given {
        None => Ok(limit),
        Some(n) if n >= 1.0 && n.fract() == 0.0 => Ok((n as usize).min(limit)),
        Some(n) => Err(Error::coded(
            "InvalidPaginationLimit",
            format!("{name} must be a whole number above 0, got {n}"),
        )),
    };
    let limits = tx.limits();
    Ok(Bounds {
        items: items as usize,
        rows: maximum(options.maximum_rows_read, "maximumRowsRead", limits.documents_read)?,
        bytes: maximum(options.maximum_bytes_read, "maximumBytesRead", limits.bytes_read)?,
        end,
    })
}

/// The part of `source` between two positions.
fn restricted(
    order: Order,
    source: Option<Source>,
    start: Option<&Position>,
    end: Option<&Position>,
) -> Option<Source> {
    let mut source = source?;
    let mut part = Interval::all();
    let after = |key: &[u8]| [key, &[0]].concat();
    match (start, order) {
        (Some(Position::After(key)), Order::Asc) => part.start = after(key),
        (Some(Position::After(key)), Order::Desc) => part.end = Some(key.clone()),
        (Some(Position::End), _) => return None,
        (None, _) => {}
    }
    match (end, order) {
        (Some(Position::After(key)), Order::Asc) => part.end = Some(after(key)),
        (Some(Position::After(key)), Order::Desc) => part.start = key.clone(),
        (Some(Position::End) | None, _) => {}
    }
    source.interval = source.interval.intersect(&part);
    Some(source)
}

/// Turns positions of one query into opaque texts and back.
struct Sealer<'a> {
    frame: &'a Frame<'a>,
    fingerprint: [u8; FINGERPRINT_BYTES],
}

impl Sealer<'_> {
    fn seal(&self, position: &Position) -> String {
        let secret = &self.frame.call.start().secret;
        secret.seal_deterministic(Purpose::Cursor, &self.write(position))
    }

    fn open(&self, cursor: &str) -> Result<Position> {
        let secret = &self.frame.call.start().secret;
        let bytes = secret.open_deterministic(Purpose::Cursor, cursor);
        self.read(&bytes.ok_or_else(invalid_cursor)?)
    }

    /// fingerprint ‖ length of the name (2) ‖ name ‖ 0 for the end, or 1 ‖ key
    fn write(&self, position: &Position) -> Vec<u8> {
        let name = self.frame.call.start().instance_name.as_bytes();
        let mut bytes = self.fingerprint.to_vec();
        bytes.extend_from_slice(&(name.len() as u16).to_be_bytes());
        bytes.extend_from_slice(name);
        match position {
            Position::End => bytes.push(0),
            Position::After(key) => {
                bytes.push(1);
                bytes.extend_from_slice(key);
            }
        }
        bytes
    }

    fn read(&self, bytes: &[u8]) -> Result<Position> {
        let mut head = self.write(&Position::End);
        head.pop();
        match bytes.strip_prefix(head.as_slice()).and_then(<[u8]>::split_first) {
            Some((0, [])) => Ok(Position::End),
            Some((1, key)) => Ok(Position::After(key.to_vec())),
            _ => Err(invalid_cursor()),
        }
    }
}

/// Equal for equal queries on an index of the same fields. Whole tables are always scanned in
/// creation order, also before they exist.
fn fingerprint(plan: &QueryPlan, source: Option<&Source>) -> [u8; FINGERPRINT_BYTES] {
    let mut hash = Sha256::new();
    hash.update(plan.to_json().to_string());
    if let (Some(_), Some(source)) = (&plan.index, source) {
        for field in &source.index.fields {
            hash.update([0]);
            hash.update(field.as_str());
        }
    }
    hash.finalize().into()
}
