//! What only the store on disk promises: no waiting, little reading, bounded files, one process.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::StatementStatus;
use value::{InternalId, Interval, Timestamp};

use super::*;
use crate::DocumentWrite;

const TABLET: TabletId = TabletId(1);
const INDEX: IndexId = IndexId(2);

fn open(folder: &Path) -> SqliteStore {
    let options = SqliteOptions { durability: Durability::Relaxed, ..SqliteOptions::default() };
    SqliteStore::open(folder, &options).unwrap()
}

fn id_of(number: u64) -> InternalId {
    InternalId(u128::from(number).to_be_bytes())
}

fn key_of(number: u64) -> Arc<[u8]> {
    Arc::from(number.to_be_bytes().as_slice())
}

fn write(number: u64, prev_ts: Option<u64>, bytes: Option<usize>) -> DocumentWrite {
    let body = bytes.map(|bytes| Arc::from(vec![number as u8; bytes]));
    let prev_ts = prev_ts.map(Timestamp);
    DocumentWrite { tablet: TABLET, id: id_of(number), prev_ts, body }
}

fn commit(ts: u64, documents: Vec<DocumentWrite>, entries: Vec<EntryWrite>) -> Commit {
    Commit { ts: Timestamp(ts), documents, entries }
}

/// Inserts documents at one timestamp, each with an index entry.
fn insert(ts: u64, numbers: std::ops::Range<u64>, bytes: usize) -> Commit {
    let documents = numbers.clone().map(|number| write(number, None, Some(bytes))).collect();
    let entry = |number| EntryWrite { index: INDEX, key: key_of(number), id: Some(id_of(number)) };
    commit(ts, documents, numbers.map(entry).collect())
}

fn ids(page: &Page) -> Vec<u64> {
    page.rows.iter().map(|row| u128::from_be_bytes(row.id.0) as u64).collect()
}

/// Steps of SQLite's machine in all statements of scans since the last call.
fn steps(store: &SqliteStore) -> i64 {
    let writer = store.writer.lock();
    let connection = writer.connection().unwrap();
    let mut steps = 0;
    for source in [scan::Source::Documents(TABLET), scan::Source::Entries(INDEX, TABLET)] {
        let walks = [Order::Asc, Order::Desc]
            .into_iter()
            .flat_map(|order| [true, false].map(|bounded| source.walk_sql(order, bounded)));
        for sql in walks.chain([source.newest_sql()]) {
            let statement = connection.prepare_cached(sql).unwrap();
            steps += i64::from(statement.reset_status(StatementStatus::VmStep));
        }
    }
    steps
}

fn one_connection(folder: &Path) -> SqliteStore {
    let options = SqliteOptions { readers: 0, ..SqliteOptions::default() };
    SqliteStore::open(folder, &options).unwrap()
}

#[test]
fn a_small_page_reads_little_of_a_long_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = one_connection(folder.path());
    store.append(&[insert(1, 0..20_000, 10)]).unwrap();
    steps(&store);
    for index in [INDEX, IndexId::by_id(TABLET)] {
        for (order, first) in [(Order::Asc, 0), (Order::Desc, 19_999)] {
            let all = Interval::all();
            let page = store.scan(TABLET, index, &all, Timestamp(1), order, 1).unwrap();
            assert_eq!(ids(&page), [first]);
            let steps = steps(&store);
            assert!(steps < 100, "{index:?} {order:?} took {steps} steps");
        }
    }
}

#[test]
fn many_old_versions_of_a_key_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = one_connection(folder.path());
    store.append(&[insert(1, 0..3, 10)]).unwrap();
    // Document 1 changes, and key 1 comes and goes, five thousand times.
    let group: Vec<Commit> = (2..5002)
        .map(|ts| {
            let id = (ts % 2 == 1).then_some(id_of(1));
            let entries = vec![EntryWrite { index: INDEX, key: key_of(1), id }];
            commit(ts, vec![write(1, Some(ts - 1), Some(10))], entries)
        })
        .collect();
    store.append(&group).unwrap();
    steps(&store);
    for index in [INDEX, IndexId::by_id(TABLET)] {
        for at in [1, 2501, 5001] {
            for (order, expected) in [(Order::Asc, [0, 1, 2]), (Order::Desc, [2, 1, 0])] {
                let all = Interval::all();
                let page = store.scan(TABLET, index, &all, Timestamp(at), order, 9).unwrap();
                assert_eq!(ids(&page), expected, "{index:?} at {at}");
                let ts = page.rows[1].ts;
                assert_eq!(ts, Timestamp(at));
                let steps = steps(&store);
                assert!(steps < 600, "{index:?} {order:?} at {at} took {steps} steps");
            }
        }
    }
}

#[test]
fn a_scan_does_not_wait_for_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&[insert(1, 0..3, 10)]).unwrap();
    let writer = store.writer.lock();
    let connection = writer.connection().unwrap();
    connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM documents").unwrap();
    let all = Interval::all();
    let page = store.scan(TABLET, INDEX, &all, Timestamp(1), Order::Asc, 9).unwrap();
    assert_eq!(ids(&page), [0, 1, 2]);
    connection.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn twenty_thousand_updates_of_fifty_rows_leave_a_small_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&[insert(1, 0..50, 300)]).unwrap();
    let mut newest = [1; 50];
    let mut sizes = Vec::new();
    for block in 0..100u64 {
        // Two hundred updates a block, in groups of twenty.
        for group in 0..10 {
            let commits: Vec<Commit> = (0..20)
                .map(|number| {
                    let (ts, row) = (2 + block * 200 + group * 20 + number, number * 7 % 50);
                    let prev = std::mem::replace(&mut newest[row as usize], ts);
                    commit(ts, vec![write(row, Some(prev), Some(300))], vec![])
                })
                .collect();
            store.append(&commits).unwrap();
        }
        let horizon = Timestamp(store.head().unwrap().0 - 200);
        let collected = store.collect(horizon, 1000).unwrap();
        assert!(collected.done);
        sizes.push(store.size_bytes().unwrap());
    }
    let early = *sizes[..20].iter().max().unwrap();
    let late = *sizes[20..].iter().max().unwrap();
    // The bodies of all versions together are 6 MB.
    assert!(late <= early + (1 << 20), "{early} then {late}");
    let pages = |name| {
        let writer = store.writer.lock();
        writer.connection().unwrap().pragma_query_value(None, name, |row| row.get::<_, i64>(0))
    };
    assert!(pages("page_count").unwrap() < 200);
}

#[test]
fn a_file_gives_pages_back_after_a_drop() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&[insert(1, 0..12_000, 2000)]).unwrap();
    let full = store.size_bytes().unwrap();
    while !store.drop_tablet(TABLET, 5000).unwrap().done {}
    while !store.drop_index(INDEX, 5000).unwrap().done {}
    // The newest commit is among the dropped rows, and no horizon remembers it.
    store.reopen().unwrap();
    assert_eq!(store.head().unwrap(), Timestamp(1));
    while !store.collect(Timestamp(1), 5000).unwrap().done {}
    store.reopen().unwrap();
    let left = store.size_bytes().unwrap();
    assert!(left < full / 2, "{full} before, {left} after");
}

#[test]
fn the_write_ahead_log_stays_small_beside_an_open_scan() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&[insert(1, 0..50, 3000)]).unwrap();
    let mut last = 1;
    let mut update = |count: u64| {
        let group: Vec<Commit> = (0..count)
            .map(|number| {
                last += 1;
                commit(last, vec![write(number % 50, Some(1), Some(3000))], vec![])
            })
            .collect();
        store.append(&group).unwrap();
    };
    // While a snapshot is held, checkpoints cannot pass it, and an append waits but goes on.
    store
        .read(|connection| {
            connection.execute_batch("BEGIN; SELECT * FROM documents LIMIT 1").unwrap();
            for _ in 0..46 {
                update(500);
            }
            assert!(writer::wal_bytes(&store.file) > 64 << 20);
            connection.execute_batch("COMMIT").unwrap();
            Ok(())
        })
        .unwrap();
    // Then the next ones take the log back, and reuse its space.
    for _ in 0..20 {
        update(500);
    }
    assert!(writer::wal_bytes(&store.file) < 32 << 20);
}

#[test]
fn collection_goes_on_where_it_stopped_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.append(&[insert(1, 0..100, 10)]).unwrap();
    let updates = (0..100).map(|number| write(number, Some(1), Some(10))).collect();
    store.append(&[commit(2, updates, vec![])]).unwrap();
    let mut removed = Vec::new();
    loop {
        let collected = store.collect(Timestamp(2), 30).unwrap();
        assert!(collected.rows <= 30);
        removed.push(collected.rows);
        if collected.done {
            break;
        }
        drop(store);
        store = open(folder.path());
    }
    // A hundred inserts are passed, then a hundred updates each free a row.
    assert_eq!(removed, [0, 0, 0, 20, 30, 30, 20]);
    assert_eq!(store.log(Timestamp(2), 1000).unwrap(), []);
    let too_old = store.log(Timestamp(1), 1000);
    let (asked, oldest) = (Timestamp(1), Timestamp(2));
    assert_eq!(too_old, Err(StoreError::TooOld { asked, oldest }));
}

#[test]
fn nothing_is_left_of_what_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&[insert(1, 0..9, 10)]).unwrap();
    let gone = |number| EntryWrite { index: INDEX, key: key_of(number), id: None };
    let updates = (0..5).map(|number| write(number, Some(1), Some(10))).collect();
    store.append(&[commit(2, updates, (0..5).map(gone).collect())]).unwrap();
    let back = |number| EntryWrite { index: INDEX, key: key_of(number), id: Some(id_of(number)) };
    store.append(&[commit(3, vec![], (0..5).map(back).collect())]).unwrap();
    let prev = |number| Some(if number < 5 { 2 } else { 1 });
    let deletes = (0..9).map(|number| write(number, prev(number), None)).collect();
    store.append(&[commit(4, deletes, (0..9).map(gone).collect())]).unwrap();
    let rows = || {
        let sql = "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM entries)";
        let writer = store.writer.lock();
        let connection = writer.connection().unwrap();
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    assert_eq!(rows(), (9 + 5 + 9, 9 + 5 + 5 + 9));
    store.collect(Timestamp(3), 1000).unwrap();
    assert_eq!(rows(), (9 + 9, 9 + 9));
    store.collect(Timestamp(4), 1000).unwrap();
    assert_eq!(rows(), (0, 0));
    // The horizon remembers the newest commit.
    store.reopen().unwrap();
    assert_eq!(store.head().unwrap(), Timestamp(4));
}

#[test]
fn a_folder_is_opened_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let second = SqliteStore::open(folder.path(), &SqliteOptions::default());
    let text = format!("data folder {} is in use by another process", folder.path().display());
    assert_eq!(second.err(), Some(StoreError::Io(text)));
    drop(store);
    open(folder.path());
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.writer.lock().connection().unwrap().pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let error = SqliteStore::open(folder.path(), &SqliteOptions::default()).err().unwrap();
    assert!(error.to_string().contains("schema 99"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(DATABASE_FILE), [7; 10_000]).unwrap();
    let error = SqliteStore::open(folder.path(), &SqliteOptions::default()).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}

#[test]
fn an_acknowledged_commit_that_is_gone_after_reopening_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&[insert(5, 0..1, 10)]).unwrap();
    // A promise is no commit.
    store.reserve(Timestamp(9)).unwrap();
    let delete = "DELETE FROM documents";
    store.writer.lock().connection().unwrap().execute(delete, []).unwrap();
    let error = store.reopen().err().unwrap();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    // Closed: nothing is written to a store that lost something.
    let outcome = store.append(&[insert(6, 1..2, 10)]);
    assert!(matches!(outcome, Err(AppendError::NotWritten(_))), "{outcome:?}");
    assert!(matches!(store.counts(), Err(StoreError::Io(_))));
}

#[test]
fn an_entry_without_a_document_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut lonely = insert(1, 0..1, 10);
    lonely.documents.clear();
    store.append(&[lonely]).unwrap();
    let all = Interval::all();
    let page = store.scan(TABLET, INDEX, &all, Timestamp(1), Order::Asc, 9);
    assert!(matches!(page, Err(StoreError::Corrupt(_))), "{page:?}");
}

#[test]
fn scans_run_beside_appends_and_collection() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&[insert(1, 0..40, 100)]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::SeqCst) {
                let head = store.head().unwrap();
                let all = Interval::all();
                match store.scan(TABLET, INDEX, &all, head, Order::Desc, 100) {
                    Ok(page) => {
                        // Each commit writes all forty: a page shows one commit.
                        let versions: BTreeSet<Timestamp> =
                            page.rows.iter().map(|row| row.ts).collect();
                        assert_eq!((page.rows.len(), versions.len()), (40, 1));
                        assert!(versions.first() <= Some(&head));
                        seen.extend(versions);
                    }
                    Err(error) => assert!(matches!(error, StoreError::TooOld { .. }), "{error}"),
                }
            }
            assert!(!seen.is_empty());
        };
        for _ in 0..6 {
            scope.spawn(reader);
        }
        for ts in 2..300 {
            let updates = (0..40).map(|number| write(number, Some(ts - 1), Some(100))).collect();
            store.append(&[commit(ts, updates, vec![])]).unwrap();
            if ts % 10 == 0 {
                store.collect(Timestamp(ts - 1), 1000).unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}
