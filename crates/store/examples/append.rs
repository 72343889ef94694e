//! Measures a store in a folder: appends by group size, scans, and opening.
//!
//!     cargo run --release -p store --example append -- FOLDER [ROWS]
//!
//! The folder should be on the disk that matters: under `Full` its sync decides.

use std::sync::Arc;
use std::time::Instant;

use store::{
    Commit, DocumentWrite, Durability, EntryWrite, IndexId, Order, SqliteOptions, SqliteStore,
    Store, TabletId,
};
use value::{InternalId, Interval, Timestamp};

const TABLET: TabletId = TabletId(1);
const INDEX: IndexId = IndexId(2);
/// Documents that one commit inserts.
const BLOCK: u64 = 1000;
const BODY_BYTES: usize = 250;
const ROWS: u64 = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("append FOLDER [ROWS]")?;
    let rows = arguments.next().map_or(Ok(ROWS), |rows| rows.parse())?;
    let folder = std::path::Path::new(&folder);
    for durability in [Durability::Full, Durability::Relaxed] {
        let options = SqliteOptions { durability, ..SqliteOptions::default() };
        let name = folder.join(format!("{durability:?}"));
        let store = SqliteStore::open(&name, &options)?;
        fill(&store, rows)?;
        // Timestamps of the newest versions.
        let mut newest: Vec<Timestamp> = (0..rows).map(|row| Timestamp(row / BLOCK + 1)).collect();
        for (group, appends) in [(1, 2000), (10, 1000), (100, 400)] {
            updates(&store, &mut newest, group, appends)?;
        }
        scans(&store)?;
        println!("{durability:?}: {} MiB", store.size_bytes()? >> 20);
        drop(store);
        let start = now();
        let store = SqliteStore::open(&name, &options)?;
        println!("{durability:?}: opened in {:?}", start.elapsed());
        collect(&store)?;
    }
    Ok(())
}

/// Inserts documents, each with one index entry.
fn fill(store: &SqliteStore, rows: u64) -> Result<(), Box<dyn std::error::Error>> {
    let start = now();
    for block in 0..rows.div_ceil(BLOCK) {
        let ts = Timestamp(store.head()?.0 + 1);
        let mut commit = Commit { ts, documents: vec![], entries: vec![] };
        for number in block * BLOCK..((block + 1) * BLOCK).min(rows) {
            let id = Some(id_of(number));
            commit.documents.push(write(number, None));
            commit.entries.push(EntryWrite { index: INDEX, key: key_of(number), id });
        }
        store.append(&[commit])?;
    }
    println!("{rows} inserts in {:?}", start.elapsed());
    Ok(())
}

/// Updates random documents under unchanged keys.
fn updates(
    store: &SqliteStore,
    newest: &mut [Timestamp],
    group: u64,
    appends: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut last = store.head()?.0;
    let start = now();
    for append in 0..appends {
        let commits: Vec<Commit> = (0..group)
            .map(|number| {
                last += 1;
                let number = mix(append * group + number + last) % newest.len() as u64;
                let ts = Timestamp(last);
                let prev_ts = std::mem::replace(&mut newest[number as usize], ts);
                let documents = vec![write(number, Some(prev_ts))];
                Commit { ts, documents, entries: vec![] }
            })
            .collect();
        store.append(&commits)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let (groups, commits) = (appends as f64 / seconds, (appends * group) as f64 / seconds);
    println!("groups of {group}: {groups:.0} appends/s, {commits:.0} commits/s");
    Ok(())
}

fn scans(store: &SqliteStore) -> Result<(), Box<dyn std::error::Error>> {
    let at = store.head()?;
    for (name, index) in [("by_id", IndexId::by_id(TABLET)), ("by key", INDEX)] {
        for order in [Order::Asc, Order::Desc] {
            for limit in [1, 100, 100_000] {
                let start = now();
                let page = store.scan(TABLET, index, &Interval::all(), at, order, limit)?;
                let elapsed = start.elapsed();
                println!("scan {name} {order:?}: {} rows in {elapsed:?}", page.rows.len());
            }
        }
    }
    Ok(())
}

fn collect(store: &SqliteStore) -> Result<(), Box<dyn std::error::Error>> {
    let start = now();
    let mut rows = 0;
    let mut done = false;
    while !done {
        let collected = store.collect(store.head()?, 10_000)?;
        rows += collected.rows;
        done = collected.done;
    }
    println!("collected {rows} rows in {:?}", start.elapsed());
    Ok(())
}

fn write(number: u64, prev_ts: Option<Timestamp>) -> DocumentWrite {
    let body: Arc<[u8]> = vec![number as u8; BODY_BYTES].into();
    DocumentWrite { tablet: TABLET, id: id_of(number), prev_ts, body: Some(body) }
}

/// Ids are random, as in use.
fn id_of(number: u64) -> InternalId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(number).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    InternalId(id)
}

fn key_of(number: u64) -> Arc<[u8]> {
    Arc::from([b"general".as_slice(), &number.to_be_bytes(), &id_of(number).0].concat())
}

fn mix(number: u64) -> u64 {
    let x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 27)
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the real clock")]
fn now() -> Instant {
    Instant::now()
}
