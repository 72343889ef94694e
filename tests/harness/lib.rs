//! What the tests share: a world without threads, sockets and wall clock.
//!
//!     Client ── frames ──► Link (a connection, and the wires to it) ──► World (runtime, engine, disk)
//!        ▲                   │                                            │
//!        └── checks ─────────┘                         FaultStore, Judge ─┘
//!
//! - `app`: a small application · `world`: a server that runs only what it is told to run
//! - `client`: how the official client behaves, with checks of what reaches it
//! - `faults`: a store that fails · `script`: golden session scripts
//! - `process`: a server of its own · `wire`: a sync socket to it, frame by frame
//!
//! A check that does not hold panics: whoever drives the world says how to repeat it.

pub mod app;
pub mod client;
pub mod faults;
pub mod process;
pub mod script;
pub mod wire;
pub mod world;
