//! Why a value does not match, in words.

use std::fmt;

use super::{ObjectValidator, Validator};
use crate::ids::DocumentId;
use crate::names::TableName;
use crate::object::Object;
use crate::value::Value;

/// A value that does not match: what and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    /// What does not match.
    pub failure: Failure,
    /// Where in the checked value.
    pub path: Path,
}

/// The six ways not to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The value is of another kind, or of no kind of a union.
    NoMatch {
        /// The value there.
        value: Value,
        /// What it should match.
        validator: Validator,
    },
    /// A field that is not optional is absent.
    MissingRequiredField {
        /// Its name.
        field: String,
        /// The object that lacks it.
        object: Object,
        /// What the object should match.
        validator: ObjectValidator,
    },
    /// A field that is not declared is present.
    ExtraField {
        /// Its name.
        field: String,
        /// The object that has it.
        object: Object,
        /// What the object should match.
        validator: ObjectValidator,
    },
    /// Not the value of the literal.
    LiteralValuesDoNotMatch {
        /// The value there.
        value: Value,
        /// The value it should be.
        literal: Value,
    },
    /// An id of another table.
    TableNamesDoNotMatch {
        /// The id there.
        id: DocumentId,
        /// Its table.
        found: TableName,
        /// The table it should be of.
        expected: TableName,
    },
    /// An id of a private system table.
    SystemTableReference {
        /// The id there.
        id: DocumentId,
        /// The table it should be of.
        expected: TableName,
    },
}

impl Failure {
    /// The name of the kind, as in the specification.
    pub fn name(&self) -> &'static str {
        match self {
            Failure::NoMatch { .. } => "NoMatch",
            Failure::MissingRequiredField { .. } => "MissingRequiredField",
            Failure::ExtraField { .. } => "ExtraField",
            Failure::LiteralValuesDoNotMatch { .. } => "LiteralValuesDoNotMatch",
            Failure::TableNamesDoNotMatch { .. } => "TableNamesDoNotMatch",
            Failure::SystemTableReference { .. } => "SystemTableReference",
        }
    }
}

/// One step from a container to what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// `.field`
    Field(String),
    /// `[index]`
    Index(usize),
    /// `.keys()` of a record
    Keys,
    /// `.values()` of a record
    Values,
}

/// Where in a value, from the outside in: `.p.q[1].r`; empty for the value itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(pub Vec<PathSegment>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            PathSegment::Field(name) => write!(f, ".{name}"),
            PathSegment::Index(i) => write!(f, "[{i}]"),
            PathSegment::Keys => f.write_str(".keys()"),
            PathSegment::Values => f.write_str(".values()"),
        })
    }
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        let has_path = !path.0.is_empty();
        let line = if has_path { format!("Path: {path}\n") } else { String::new() };
        let suffix = if has_path { format!(" Path: {path}") } else { String::new() };
        match &self.failure {
            Failure::NoMatch { value, validator } => write!(
                f,
                "Value does not match validator.\n{line}Value: {value}\nValidator: {validator}"
            ),
            Failure::MissingRequiredField { field, object, validator } => write!(
                f,
                "Object is missing the required field `{field}`. If it may be absent, wrap its \
                 validator in `v.optional(...)`.\n{line}Object: {object}\nValidator: {validator}"
            ),
            Failure::ExtraField { field, object, validator } => write!(
                f,
                "Object contains extra field `{field}` that is not in the validator.\n\
                 {line}Object: {object}\nValidator: {validator}"
            ),
            Failure::LiteralValuesDoNotMatch { value, literal } => {
                let literal = Validator::Literal(literal.clone());
                write!(f, "`{value}` does not match literal validator `{literal}`.{suffix}")
            }
            Failure::TableNamesDoNotMatch { id, found, expected } => write!(
                f,
                "Found ID \"{id}\" from table `{found}`, which does not match the table name in \
                 validator `v.id(\"{expected}\")`.{suffix}"
            ),
            Failure::SystemTableReference { id, expected } => write!(
                f,
                "Found ID \"{id}\" from a system table, which does not match the table name in \
                 validator `v.id(\"{expected}\")`.{suffix}"
            ),
        }
    }
}

impl std::error::Error for ValidationError {}
