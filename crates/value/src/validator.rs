//! Validators: which values a field, an argument or a result may have.
//!
//! - here: the types and [`Validator::check`]; the texts of failures are in `error`
//! - `form`: the JSON form; `relation`: when one validator accepts all that another accepts
//!
//! Source: spec/data-model.md, section 10.

mod check;
mod error;
mod form;
mod relation;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use self::check::Tables;
pub use self::error::{Failure, Path, PathSegment, ValidationError};
pub use self::form::{INVALID_VALIDATOR, VALIDATOR_NESTING_MAX, ValidatorError};
use crate::names::TableName;
use crate::value::Value;

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validator {
    /// `v.null()`
    Null,
    /// `v.number()`: a float64.
    Number,
    /// `v.int64()`: an int64.
    Bigint,
    /// `v.boolean()`
    Boolean,
    /// `v.string()`
    String,
    /// `v.bytes()`
    Bytes,
    /// `v.any()`
    Any,
    /// An int64 that is the timestamp of the commit that wrote it.
    CommitTs,
    /// `v.literal(x)`: this value; a string, number, boolean or int64.
    Literal(Value),
    /// `v.id("table")`: an id of a document of this table; it need not exist.
    Id(TableName),
    /// `v.array(x)`
    Array(Box<Validator>),
    /// `v.object({…})`
    Object(ObjectValidator),
    /// `v.union(…)`
    Union(Vec<Validator>),
    /// `v.record(keys, values)`
    Record {
        /// What the names must be; accepts only strings.
        keys: Box<Validator>,
        /// What the fields must be.
        values: Box<Validator>,
    },
}

/// The declared fields of an object; others are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectValidator {
    /// The fields by name.
    pub fields: BTreeMap<String, FieldValidator>,
}

/// A declared field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValidator {
    /// What the field must be when it is present.
    pub validator: Validator,
    /// Whether the field may be absent.
    pub optional: bool,
}

impl Validator {
    /// The tables that ids in this validator name, sorted, without repetition.
    pub fn id_tables(&self) -> Vec<TableName> {
        let mut tables = Vec::new();
        self.collect_id_tables(&mut tables);
        tables.sort();
        tables.dedup();
        tables
    }

    fn collect_id_tables(&self, tables: &mut Vec<TableName>) {
        match self {
            Validator::Null
            | Validator::Number
            | Validator::Bigint
            | Validator::Boolean
            | Validator::String
            | Validator::Bytes
            | Validator::Any
            | Validator::CommitTs
            | Validator::Literal(_) => {}
            Validator::Id(table) => tables.push(table.clone()),
            Validator::Array(item) => item.collect_id_tables(tables),
            Validator::Object(object) => {
                object.fields.values().for_each(|field| field.validator.collect_id_tables(tables));
            }
            Validator::Union(members) => {
                members.iter().for_each(|member| member.collect_id_tables(tables));
            }
            Validator::Record { keys, values } => {
                keys.collect_id_tables(tables);
                values.collect_id_tables(tables);
            }
        }
    }
}

/// As in source code: `v.array(v.id("rooms"))`.
impl fmt::Display for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Validator::Null => f.write_str("v.null()"),
            Validator::Number => f.write_str("v.float64()"),
            Validator::Bigint => f.write_str("v.int64()"),
            Validator::Boolean => f.write_str("v.boolean()"),
            Validator::String => f.write_str("v.string()"),
            Validator::Bytes => f.write_str("v.bytes()"),
            Validator::Any => f.write_str("v.any()"),
            Validator::CommitTs => f.write_str("v.commitTs()"),
            Validator::Literal(Value::Int64(_)) => f.write_str("v.literal(<bigint>)"),
            Validator::Literal(value) => write!(f, "v.literal({value})"),
            Validator::Id(table) => write!(f, "v.id(\"{table}\")"),
            Validator::Array(item) => write!(f, "v.array({item})"),
            Validator::Object(object) => object.fmt(f),
            Validator::Union(members) => {
                f.write_str("v.union(")?;
                for (i, member) in members.iter().enumerate() {
                    write!(f, "{}{member}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Validator::Record { keys, values } => write!(f, "v.record({keys}, {values})"),
        }
    }
}

impl fmt::Display for ObjectValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v.object({")?;
        for (i, (name, field)) in self.fields.iter().enumerate() {
            write!(f, "{}{name}: ", if i == 0 { "" } else { ", " })?;
            if field.optional {
                write!(f, "v.optional({})", field.validator)?;
            } else {
                field.validator.fmt(f)?;
            }
        }
        f.write_str("})")
    }
}
