//! Values and everything that is a plain function of them.
//!
//! ```text
//! JSON text ──json──► Value ──key──► ordered bytes ──► Interval
//!                       │  └─serde─► Rust structs
//!                       └─ validator, schema: what a document may look like
//! ```
//!
//! - [`Value`], [`Object`]: the eight types, their sizes and their total order.
//! - [`json`]: the three JSON forms; the only place that knows how a value looks on the wire.
//! - [`key`]: bytes that sort like values. [`Interval`]: half-open ranges of such bytes.
//! - [`ids`]: document ids. [`names`]: tables, indexes, fields. [`paths`]: functions, components.
//! - [`validator`], [`schema`]: checks of values and the definition of tables.
//! - [`mod@serde`]: Rust types to values and back.
//! - [`limits`]: every bound on a value, by name.
//!
//! Must not do IO, read a clock or draw random numbers.
//! Invariant: order, equality, hash and key bytes agree.

pub mod ids;
pub mod interval;
pub mod json;
pub mod key;
pub mod limits;
pub mod names;
pub mod object;
pub mod paths;
#[cfg(test)]
mod samples;
pub mod schema;
pub mod serde;
pub mod timestamp;
pub mod validator;
mod value;

pub use ids::{DocumentId, IdError, InternalId, TableNumber};
pub use interval::Interval;
pub use limits::ValueError;
pub use names::{FieldPath, IndexName, NameError, TableName};
pub use object::Object;
pub use paths::{ComponentPath, FunctionPath};
pub use timestamp::Timestamp;
pub use value::Value;
