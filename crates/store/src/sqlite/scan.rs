//! Reads: a cursor walk over the versions of an index, and the log.
//!
//!     index (key, ts):  a@1 a@7 a@9 | b@3 | c@2 … c@90000 | d@5
//!                           ▲ newest at or below `at`, once per key
//!
//! The cursor steps from row to row, as most keys have one version. After `SEEK_AFTER` rows of one
//! key it seeks: to the right version, then behind the key. So neither the length of the range nor
//! the number of old versions shows in the price of a small page.

use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};
use value::{InternalId, Interval, Timestamp};

use super::errors::store_error;
use crate::{IndexId, LogRow, Order, Page, Row, StoreError, TIMESTAMP_MAX, TabletId};

/// Versions of one key that are stepped over before a seek pays.
const SEEK_AFTER: usize = 8;

/// Rows for which room is made before they are known to exist.
const ROWS_RESERVED_MAX: usize = 1024;

/// See [`crate::Store::scan`]; the age of `at` is checked by the caller.
pub(super) fn scan(
    connection: &Connection,
    tablet: TabletId,
    index: IndexId,
    interval: &Interval,
    at: Timestamp,
    order: Order,
    limit: usize,
) -> Result<Page, StoreError> {
    let source = match index.as_by_id() {
        Some(tablet) => Source::Documents(tablet),
        None => Source::Entries(index, tablet),
    };
    let walk = Walk { connection, source, at, order };
    let mut rows = Vec::with_capacity(limit.min(ROWS_RESERVED_MAX));
    let mut rest = Some(interval.clone());
    while let Some(interval) = rest.take() {
        if rows.len() < limit && !interval.is_empty() {
            rest = walk.stretch(interval, limit, &mut rows)?;
        }
    }
    let exhausted = rows.len() < limit;
    Ok(Page { rows, exhausted })
}

/// See [`crate::Store::log`]; the age of `after` is checked by the caller.
pub(super) fn log(
    connection: &Connection,
    after: Timestamp,
    limit: usize,
) -> Result<Vec<LogRow>, StoreError> {
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = log_rows(connection, after, Timestamp(TIMESTAMP_MAX), one_more)?;
    let Some(cut) = rows.get(limit).map(|row| row.ts) else { return Ok(rows) };
    let whole = rows.partition_point(|row| row.ts < cut);
    if whole == 0 {
        return log_rows(connection, after, cut, i64::MAX);
    }
    rows.truncate(whole);
    Ok(rows)
}

fn log_rows(
    connection: &Connection,
    after: Timestamp,
    last: Timestamp,
    limit: i64,
) -> Result<Vec<LogRow>, StoreError> {
    let read = || {
        let mut statement = connection.prepare_cached(
            "SELECT ts, tablet, id, prev_ts, body FROM documents INDEXED BY documents_by_ts
             WHERE ts > ?1 AND ts <= ?2 ORDER BY ts, tablet, id LIMIT ?3",
        )?;
        let after = i64::try_from(after.0).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![after, last.0 as i64, limit], |row| {
            Ok(LogRow {
                ts: timestamp(row, 0)?,
                tablet: TabletId(row.get(1)?),
                id: InternalId(row.get(2)?),
                prev_ts: optional_timestamp(row, 3)?,
                body: bytes(row, 4)?,
            })
        })?;
        rows.collect::<rusqlite::Result<Vec<LogRow>>>()
    };
    read().map_err(store_error)
}

/// What a walk goes over: both are trees of (owner, key, ts) with a payload that is absent where
/// the key is gone.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Documents(TabletId),
    Entries(IndexId, TabletId),
}

impl Source {
    fn owner(self) -> u32 {
        match self {
            Source::Documents(tablet) => tablet.0,
            Source::Entries(index, _) => index.0,
        }
    }

    pub(super) fn walk_sql(self, order: Order, bounded: bool) -> &'static str {
        match (self, order, bounded) {
            (Source::Documents(_), Order::Asc, false) => {
                "SELECT id, ts, body FROM documents WHERE tablet = ?1 AND id >= ?2
                 ORDER BY id, ts"
            }
            (Source::Documents(_), Order::Asc, true) => {
                "SELECT id, ts, body FROM documents WHERE tablet = ?1 AND id >= ?2 AND id < ?3
                 ORDER BY id, ts"
            }
            (Source::Documents(_), Order::Desc, false) => {
                "SELECT id, ts, body FROM documents WHERE tablet = ?1 AND id >= ?2
                 ORDER BY id DESC, ts DESC"
            }
            (Source::Documents(_), Order::Desc, true) => {
                "SELECT id, ts, body FROM documents WHERE tablet = ?1 AND id >= ?2 AND id < ?3
                 ORDER BY id DESC, ts DESC"
            }
            (Source::Entries(..), Order::Asc, false) => {
                "SELECT key, ts, id FROM entries WHERE index_id = ?1 AND key >= ?2
                 ORDER BY key, ts"
            }
            (Source::Entries(..), Order::Asc, true) => {
                "SELECT key, ts, id FROM entries WHERE index_id = ?1 AND key >= ?2 AND key < ?3
                 ORDER BY key, ts"
            }
            (Source::Entries(..), Order::Desc, false) => {
                "SELECT key, ts, id FROM entries WHERE index_id = ?1 AND key >= ?2
                 ORDER BY key DESC, ts DESC"
            }
            (Source::Entries(..), Order::Desc, true) => {
                "SELECT key, ts, id FROM entries WHERE index_id = ?1 AND key >= ?2 AND key < ?3
                 ORDER BY key DESC, ts DESC"
            }
        }
    }

    pub(super) fn newest_sql(self) -> &'static str {
        match self {
            Source::Documents(_) => {
                "SELECT ts, body FROM documents WHERE tablet = ?1 AND id = ?2 AND ts <= ?3
                 ORDER BY ts DESC LIMIT 1"
            }
            Source::Entries(..) => {
                "SELECT ts, id FROM entries WHERE index_id = ?1 AND key = ?2 AND ts <= ?3
                 ORDER BY ts DESC LIMIT 1"
            }
        }
    }
}

/// A version: its timestamp, and its payload unless the key is gone.
type Version = (Timestamp, Option<Arc<[u8]>>);

struct Walk<'a> {
    connection: &'a Connection,
    source: Source,
    at: Timestamp,
    order: Order,
}

/// The key under the cursor.
struct Passing {
    key: Vec<u8>,
    newest: Option<Version>,
    versions: usize,
}

impl Walk<'_> {
    /// Walks until the limit, the end (`None`), or a key with many versions: then the rest of the
    /// interval behind that key.
    fn stretch(
        &self,
        interval: Interval,
        limit: usize,
        rows: &mut Vec<Row>,
    ) -> Result<Option<Interval>, StoreError> {
        let sql = self.source.walk_sql(self.order, interval.end.is_some());
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        let (owner, start) = (self.source.owner(), &interval.start);
        let mut cursor = match &interval.end {
            Some(end) => statement.query(params![owner, start, end]),
            None => statement.query(params![owner, start]),
        }
        .map_err(store_error)?;
        let mut passing: Option<Passing> = None;
        while let Some(row) = cursor.next().map_err(store_error)? {
            let key = blob(row, 0).map_err(store_error)?;
            if passing.as_ref().is_none_or(|passing| passing.key != key) {
                let next = Passing { key: key.to_vec(), newest: None, versions: 0 };
                if let Some(passed) = passing.replace(next)
                    && self.emit(passed.key, passed.newest, limit, rows)?.is_break()
                {
                    return Ok(None);
                }
            }
            let Some(current) = &mut passing else { continue };
            self.look(row, current).map_err(store_error)?;
            if current.versions >= SEEK_AFTER {
                let key = std::mem::take(&mut current.key);
                let newest = self.newest(self.source, &key)?;
                let _ = self.emit(key.clone(), newest, limit, rows)?;
                return Ok(Some(self.behind(&interval, key)));
            }
        }
        if let Some(passed) = passing {
            let _ = self.emit(passed.key, passed.newest, limit, rows)?;
        }
        Ok(None)
    }

    /// Takes the version under the cursor if it is the newest one at or below `at` so far.
    fn look(&self, row: &SqlRow<'_>, passing: &mut Passing) -> rusqlite::Result<()> {
        passing.versions += 1;
        let ts = timestamp(row, 1)?;
        if ts <= self.at && passing.newest.as_ref().is_none_or(|(newest, _)| *newest < ts) {
            passing.newest = Some((ts, bytes(row, 2)?));
        }
        Ok(())
    }

    fn behind(&self, interval: &Interval, mut key: Vec<u8>) -> Interval {
        match self.order {
            Order::Asc => {
                key.push(0);
                Interval { start: key, end: interval.end.clone() }
            }
            Order::Desc => Interval { start: interval.start.clone(), end: Some(key) },
        }
    }

    /// Adds a row unless its key is gone. Breaks at the limit.
    fn emit(
        &self,
        key: Vec<u8>,
        version: Option<Version>,
        limit: usize,
        rows: &mut Vec<Row>,
    ) -> Result<ControlFlow<()>, StoreError> {
        if let Some((ts, Some(payload))) = version {
            let row = match self.source {
                Source::Documents(_) => {
                    Row { id: internal_id(&key)?, key: key.into(), ts, body: payload }
                }
                Source::Entries(index, tablet) => {
                    match self.newest(Source::Documents(tablet), &payload)? {
                        Some((ts, Some(body))) => {
                            Row { key: key.into(), id: internal_id(&payload)?, ts, body }
                        }
                        Some((_, None)) | None => {
                            let text = format!("entry of {index:?} has no document");
                            return Err(StoreError::Corrupt(text));
                        }
                    }
                }
            };
            rows.push(row);
        }
        Ok(if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    fn newest(&self, source: Source, key: &[u8]) -> Result<Option<Version>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(source.newest_sql())?;
            let at = i64::try_from(self.at.0).unwrap_or(i64::MAX);
            statement
                .query_row(params![source.owner(), key, at], |row| {
                    Ok((timestamp(row, 0)?, bytes(row, 1)?))
                })
                .optional()
        };
        read().map_err(store_error)
    }
}

fn timestamp(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    optional_timestamp(row, column).map(Option::unwrap_or_default)
}

fn optional_timestamp(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let ts: Option<i64> = row.get(column)?;
    let Some(ts) = ts else { return Ok(None) };
    match u64::try_from(ts) {
        Ok(ts) => Ok(Some(Timestamp(ts))),
        Err(_) => Err(rusqlite::Error::IntegralValueOutOfRange(column, ts)),
    }
}

fn blob<'a>(row: &'a SqlRow<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    Ok(row.get_ref(column)?.as_blob()?)
}

fn bytes(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<Arc<[u8]>>> {
    Ok(row.get_ref(column)?.as_blob_or_null()?.map(Arc::from))
}

fn internal_id(bytes: &[u8]) -> Result<InternalId, StoreError> {
    let id = bytes.try_into().map_err(|_| StoreError::Corrupt("an id is not 16 bytes".into()))?;
    Ok(InternalId(id))
}
