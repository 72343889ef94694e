//! Random commits on a store, and the states that they make.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use store::{
    Commit, DocumentWrite, Durability, EntryWrite, IndexId, Order, Row, SqliteOptions, SqliteStore,
    Store, StoreError, TabletId,
};
use value::{InternalId, Interval, Timestamp};

use crate::disk::Random;
use crate::vfs::Layer;

const TABLET: TabletId = TabletId(1);
const INDEX: IndexId = IndexId(2);

/// Live documents: timestamp, the byte it is filed under, the bytes.
pub(crate) type State = BTreeMap<u8, (Timestamp, u8, Arc<[u8]>)>;

pub(crate) fn open(
    folder: &Path,
    layer: &Layer,
    durability: Durability,
) -> Result<SqliteStore, StoreError> {
    let options = SqliteOptions {
        durability,
        // So little that large groups spill into the WAL before they commit.
        cache_bytes: 64 << 10,
        readers: 0,
        exclusive: true,
        vfs: Some(layer.name().to_owned()),
    };
    SqliteStore::open(folder, &options)
}

/// A group of commits after `state`, and the state behind it.
pub(crate) fn group(random: &mut Random, state: &State, last: u64) -> (Vec<Commit>, State) {
    let mut state = state.clone();
    let commits = 1 + random.below(3) * random.below(2);
    let group = (0..commits)
        .map(|number| {
            let ts = Timestamp(last + 1 + number);
            let mut commit = Commit { ts, documents: vec![], entries: vec![] };
            let ids: BTreeMap<u8, ()> =
                (0..1 + random.below(4)).map(|_| (random.below(20) as u8, ())).collect();
            for id in ids.into_keys() {
                write(random, &mut state, &mut commit, id);
            }
            commit
        })
        .collect();
    (group, state)
}

fn write(random: &mut Random, state: &mut State, commit: &mut Commit, id: u8) {
    let old = state.remove(&id);
    let new = (random.below(4) > 0).then(|| {
        let length = if random.below(4) == 0 { random.below(9000) } else { random.below(300) };
        let body: Arc<[u8]> = (0..length).map(|_| random.next() as u8).collect();
        (commit.ts, random.below(3) as u8, body)
    });
    let prev_ts = old.as_ref().map(|old| old.0);
    let body = new.as_ref().map(|new| new.2.clone());
    commit.documents.push(DocumentWrite { tablet: TABLET, id: id_of(id), prev_ts, body });
    let (old, filed) = (old.map(|old| old.1), new.as_ref().map(|new| new.1));
    if old != filed {
        let gone = old.map(|old| (key_of(old, id), None));
        let fresh = filed.map(|filed| (key_of(filed, id), Some(id_of(id))));
        for (key, id) in gone.into_iter().chain(fresh) {
            commit.entries.push(EntryWrite { index: INDEX, key, id });
        }
    }
    state.extend(new.map(|new| (id, new)));
}

/// What is in the store now. `Err`: it contradicts itself.
pub(crate) fn observe(store: &SqliteStore) -> Result<State, String> {
    let head = store.head().map_err(|error| error.to_string())?;
    let scan = |index| -> Result<Vec<Row>, String> {
        let all = Interval::all();
        let page = store.scan(TABLET, index, &all, head, Order::Asc, 1000);
        Ok(page.map_err(|error| error.to_string())?.rows)
    };
    let documents = scan(IndexId::by_id(TABLET))?;
    let entries = scan(INDEX)?;
    let mut state = State::new();
    for row in entries {
        state.insert(row.key[1], (row.ts, row.key[0], row.body));
    }
    let same = documents.len() == state.len()
        && documents.iter().all(|row| {
            let entry = state.get(&row.id.0[0]);
            entry.is_some_and(|(ts, _, body)| *ts == row.ts && *body == row.body)
        });
    if !same {
        return Err("documents and entries differ".into());
    }
    let count = store.counts().map_err(|error| error.to_string())?.get(&TABLET).copied();
    if count.unwrap_or(0) != state.len() as u64 {
        return Err(format!("counts {count:?}, there are {}", state.len()));
    }
    Ok(state)
}

/// SQLite's own check of all trees. The store must be closed.
pub(crate) fn integrity(folder: &Path, layer: &Layer) -> Result<(), String> {
    let check = || {
        let file = folder.join("concave.sqlite3");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = Connection::open_with_flags_and_vfs(file, flags, layer.name())?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
    };
    match check() {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(answer),
        Err(error) => Err(error.to_string()),
    }
}

fn id_of(id: u8) -> InternalId {
    InternalId([id; 16])
}

fn key_of(filed: u8, id: u8) -> Arc<[u8]> {
    Arc::from([filed, id].as_slice())
}
