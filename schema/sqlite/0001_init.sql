-- Documents: one row per version. The log and the data at once.
-- Clustered by id, so that a page read by id needs one tree and the versions of a document lie
-- side by side.
CREATE TABLE documents (
    tablet  INTEGER NOT NULL,
    id      BLOB    NOT NULL,
    ts      INTEGER NOT NULL,
    prev_ts INTEGER,            -- the live version replaced; NULL: there was none
    body    BLOB,               -- NULL: deleted
    PRIMARY KEY (tablet, id, ts)
) STRICT, WITHOUT ROWID;

-- The order of the log. Always appended at its end; read by log and by collection.
CREATE INDEX documents_by_ts ON documents (ts, tablet, id);

-- Index entries: one row each time a key appears or vanishes, none when a document changes under
-- the same key.
CREATE TABLE entries (
    index_id INTEGER NOT NULL,
    key      BLOB    NOT NULL,
    ts       INTEGER NOT NULL,
    id       BLOB,              -- NULL: the key is gone from this ts on
    PRIMARY KEY (index_id, key, ts)
) STRICT, WITHOUT ROWID;

-- What collection of entries has to do. Small: a row leaves it when it is collected.
CREATE INDEX entries_gone ON entries (ts, index_id, key) WHERE id IS NULL;

-- Live documents of each tablet.
CREATE TABLE counts (
    tablet INTEGER PRIMARY KEY,
    live   INTEGER NOT NULL
) STRICT;

-- Named values of the layer above, outside all versions.
CREATE TABLE globals (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Places in the log that the store itself remembers: committed, reserved, oldest, collected.
CREATE TABLE marks (
    name   TEXT    PRIMARY KEY,
    ts     INTEGER NOT NULL,
    tablet INTEGER NOT NULL DEFAULT 0,
    id     BLOB    NOT NULL DEFAULT x''
) STRICT, WITHOUT ROWID;
