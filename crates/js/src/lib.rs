//! TypeScript functions on an embedded engine: a plug-in of functions.
//!
//!     Program (modules) ─► FunctionDefs ─► run: Realm (image of one module) ◄─► Syscalls (database)
//!                                            │
//!                                            └─ Heap (the engine; all unsafe code)
//!
//! May use value, functions. Must not know frames, requests or the wall clock.

mod actions;
pub mod heap;
mod program;
mod realm;
mod syscalls;
mod web;

pub use program::{Program, PushError, REALMS_KEPT, Settings, Source};
pub use realm::Limits;
