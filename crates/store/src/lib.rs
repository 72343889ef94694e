//! Versioned documents and index entries: in memory, and in SQLite.
