//! SQLite over a disk that fails: power cuts, syncs that fail, and no space left.
//!
//! `disk` says what a disk may do, `vfs` puts it under SQLite, the others are the tests.

mod disk;
mod power;
mod refusals;
mod vfs;
mod work;
