//! Collection and drops: small transactions with a free lock between them, so that appends pass.
//!
//!     log:  … collected │ to visit … horizon │ kept …
//!
//! A version that replaced another makes that one garbage once the horizon has passed it; a
//! deletion is garbage itself. So a walk along the log, each row visited once, finds all of it. The
//! place of the walk is a mark on disk. Entries need no place: keys that are gone have an index of
//! their own, and leave it when they are collected.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use rusqlite::{Connection, OptionalExtension, params};
use value::Timestamp;

use super::SqliteStore;
use super::errors::{store_error, write_error};
use super::writer::{MARK_COMMITTED, MARK_OLDEST, set_mark};
use crate::{Collected, IndexId, StoreError, TabletId};

/// Rows that one transaction of a collection or a drop looks at: a few milliseconds.
const STEP_ROWS: usize = 500;

/// Free pages that stay in the file for reuse, at least; and of all pages one in so many.
const FREE_PAGES_KEPT: i64 = 2048;
const FREE_SHARE_KEPT: i64 = 4;

/// Free pages that one transaction gives back to the file system.
const STEP_PAGES: i64 = 256;

/// How far the walk along the log has come: (ts, tablet, id).
const MARK_COLLECTED: &str = "collected";

/// What a step looked at, and what it removed.
struct Step {
    seen: usize,
    removed: usize,
    done: bool,
}

impl SqliteStore {
    /// See [`crate::Store::collect`].
    pub(super) fn collect_versions(
        &self,
        horizon: Timestamp,
        budget: usize,
    ) -> Result<Collected, StoreError> {
        let horizon = self.write(|writer| {
            let horizon = horizon.min(writer.head()).max(writer.oldest());
            writer.set_oldest(horizon);
            // Readers must know before the first version goes.
            self.oldest.store(horizon.0, Ordering::SeqCst);
            horizon
        });
        let mut collected = self.in_steps(budget, |connection, rows| {
            set_mark(connection, MARK_OLDEST, horizon)?;
            collect_step(connection, horizon, rows)
        })?;
        collected.done &= self.give_pages_back(budget)?;
        self.checkpoint()?;
        Ok(collected)
    }

    /// See [`crate::Store::drop_index`].
    pub(super) fn drop_entries(
        &self,
        index: IndexId,
        budget: usize,
    ) -> Result<Collected, StoreError> {
        self.in_steps(budget, |connection, rows| {
            let last = "SELECT key, ts FROM entries WHERE index_id = ?1
                        ORDER BY key, ts LIMIT 1 OFFSET ?2";
            let some = "DELETE FROM entries WHERE index_id = ?1 AND (key, ts) <= (?2, ?3)";
            let rest = "DELETE FROM entries WHERE index_id = ?1";
            drop_step(connection, [last, some, rest], index.0, rows)
        })
    }

    /// See [`crate::Store::drop_tablet`].
    pub(super) fn drop_documents(
        &self,
        tablet: TabletId,
        budget: usize,
    ) -> Result<Collected, StoreError> {
        let head = self.write(|writer| writer.committed());
        self.in_steps(budget, |connection, rows| {
            // The newest commit may be among the rows that go.
            set_mark(connection, MARK_COMMITTED, head)?;
            connection
                .prepare_cached("DELETE FROM counts WHERE tablet = ?1")?
                .execute([tablet.0])?;
            let last = "SELECT id, ts FROM documents WHERE tablet = ?1
                        ORDER BY id, ts LIMIT 1 OFFSET ?2";
            let some = "DELETE FROM documents WHERE tablet = ?1 AND (id, ts) <= (?2, ?3)";
            let rest = "DELETE FROM documents WHERE tablet = ?1";
            drop_step(connection, [last, some, rest], tablet.0, rows)
        })
    }

    /// Runs steps, each a transaction, until one is the last or the budget is spent.
    fn in_steps(
        &self,
        budget: usize,
        step: impl Fn(&Connection, usize) -> rusqlite::Result<Step>,
    ) -> Result<Collected, StoreError> {
        let mut left = budget.max(1);
        let mut collected = Collected { rows: 0, done: false };
        while left > 0 && !collected.done {
            let writer = self.writer.lock();
            let rows = left.min(STEP_ROWS);
            let outcome = writer.transact(|connection| step(connection, rows));
            // Fair: an append that waits comes first.
            MutexGuard::unlock_fair(writer);
            let Step { seen, removed, done } = outcome.map_err(write_error)?;
            left = left.saturating_sub(seen.max(1));
            collected.rows += removed;
            collected.done = done;
        }
        Ok(collected)
    }

    /// Cuts free pages off the file beyond those kept for reuse. True: no more to give.
    fn give_pages_back(&self, budget: usize) -> Result<bool, StoreError> {
        let mut left = i64::try_from(budget).unwrap_or(i64::MAX);
        loop {
            let writer = self.writer.lock();
            let surplus = surplus_pages(writer.connection()?).map_err(store_error)?;
            if surplus <= 0 || left <= 0 {
                return Ok(surplus <= 0);
            }
            let pages = surplus.min(STEP_PAGES);
            give_back(writer.connection()?, pages).map_err(store_error)?;
            MutexGuard::unlock_fair(writer);
            left -= pages;
        }
    }

    /// Copies the WAL into the database as far as readers allow. Runs beside appends, on a
    /// connection for reading, so that appends seldom have to do it.
    fn checkpoint(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                .map_err(store_error)
        })
    }
}

fn surplus_pages(connection: &Connection) -> rusqlite::Result<i64> {
    let pages = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let kept = FREE_PAGES_KEPT.max(pages("page_count")? / FREE_SHARE_KEPT);
    Ok(pages("freelist_count")? - kept)
}

fn give_back(connection: &Connection, pages: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    // One page goes with each step of the statement.
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Visits `rows` rows of the log, then entries of keys that are gone.
fn collect_step(
    connection: &Connection,
    horizon: Timestamp,
    rows: usize,
) -> rusqlite::Result<Step> {
    let documents = collect_documents(connection, horizon, rows)?;
    if !documents.done {
        return Ok(documents);
    }
    let entries = collect_entries(connection, horizon, rows - documents.seen)?;
    Ok(Step {
        seen: documents.seen + entries.seen,
        removed: documents.removed + entries.removed,
        done: entries.done,
    })
}

/// A row of the log as collection sees it.
struct Visited {
    ts: i64,
    tablet: u32,
    id: [u8; 16],
    prev_ts: Option<i64>,
    deleted: bool,
}

fn collect_documents(
    connection: &Connection,
    horizon: Timestamp,
    rows: usize,
) -> rusqlite::Result<Step> {
    let visited = visit(connection, horizon, rows)?;
    let mut remove = connection
        .prepare_cached("DELETE FROM documents WHERE tablet = ?1 AND id = ?2 AND ts = ?3")?;
    let mut removed = 0;
    for row in &visited {
        let replaced = row.prev_ts.into_iter().chain(row.deleted.then_some(row.ts));
        for ts in replaced {
            removed += remove.execute(params![row.tablet, row.id, ts])?;
        }
    }
    if let Some(last) = visited.last() {
        let sql = "INSERT INTO marks (name, ts, tablet, id) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (name) DO UPDATE
                   SET ts = excluded.ts, tablet = excluded.tablet, id = excluded.id";
        let place = params![MARK_COLLECTED, last.ts, last.tablet, last.id];
        connection.prepare_cached(sql)?.execute(place)?;
    }
    Ok(Step { seen: visited.len(), removed, done: visited.len() < rows })
}

/// The next rows of the log up to the horizon. Bodies are not read.
fn visit(
    connection: &Connection,
    horizon: Timestamp,
    rows: usize,
) -> rusqlite::Result<Vec<Visited>> {
    let place: Option<(i64, u32, Vec<u8>)> = connection
        .prepare_cached("SELECT ts, tablet, id FROM marks WHERE name = ?1")?
        .query_row([MARK_COLLECTED], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (ts, tablet, id) = place.unwrap_or_default();
    let mut statement = connection.prepare_cached(
        "SELECT ts, tablet, id, prev_ts, body IS NULL FROM documents INDEXED BY documents_by_ts
         WHERE (ts, tablet, id) > (?1, ?2, ?3) AND ts <= ?4 ORDER BY ts, tablet, id LIMIT ?5",
    )?;
    let found =
        statement.query_map(params![ts, tablet, id, horizon.0 as i64, rows as i64], |row| {
            Ok(Visited {
                ts: row.get(0)?,
                tablet: row.get(1)?,
                id: row.get(2)?,
                prev_ts: row.get(3)?,
                deleted: row.get(4)?,
            })
        })?;
    found.collect()
}

fn collect_entries(
    connection: &Connection,
    horizon: Timestamp,
    rows: usize,
) -> rusqlite::Result<Step> {
    let gone: Vec<(u32, Vec<u8>, i64)> = connection
        .prepare_cached(
            "SELECT index_id, key, ts FROM entries INDEXED BY entries_gone
             WHERE id IS NULL AND ts <= ?1 ORDER BY ts, index_id, key LIMIT ?2",
        )?
        .query_map(params![horizon.0 as i64, rows as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut remove = connection
        .prepare_cached("DELETE FROM entries WHERE index_id = ?1 AND key = ?2 AND ts <= ?3")?;
    let mut removed = 0;
    for (index, key, ts) in &gone {
        removed += remove.execute(params![index, key, ts])?;
    }
    Ok(Step { seen: gone.len(), removed, done: gone.len() < rows })
}

/// Removes about `rows` rows of one owner. The statements: the last row to go, all up to it, all.
fn drop_step(
    connection: &Connection,
    [last, some, rest]: [&str; 3],
    owner: u32,
    rows: usize,
) -> rusqlite::Result<Step> {
    let last: Option<(Vec<u8>, i64)> = connection
        .prepare_cached(last)?
        .query_row(params![owner, rows as i64 - 1], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let removed = match &last {
        Some((key, ts)) => connection.prepare_cached(some)?.execute(params![owner, key, ts])?,
        None => connection.prepare_cached(rest)?.execute([owner])?,
    };
    Ok(Step { seen: removed, removed, done: last.is_none() })
}
