//! TypeScript functions on an embedded engine: a plug-in of functions.

pub mod heap;
pub mod realm;
