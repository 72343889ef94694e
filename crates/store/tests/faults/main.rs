//! SQLite over a disk that fails: power cuts, syncs that fail, no space left; and a killed process.
//!
//! `disk` says what a disk may do, `vfs` puts it under SQLite, the others are the tests.
#![expect(clippy::unwrap_used, reason = "all of this is test code, helpers too")]

mod disk;
mod killed;
mod power;
mod refusals;
mod vfs;
mod work;
