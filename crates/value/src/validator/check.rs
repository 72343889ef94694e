//! Checking values.

use super::error::{Failure, Path, PathSegment, ValidationError};
use super::{ObjectValidator, Validator};
use crate::ids::{DocumentId, TableNumber};
use crate::names::TableName;
use crate::object::Object;
use crate::value::Value;

/// Who knows the tables of the namespace.
///
/// An answer may be a dependency of the asking transaction, so it is asked only for `v.id`,
/// and for no more than the check needs.
pub trait Tables {
    /// The number of a table; virtual tables by their public name.
    fn number_of(&self, table: &TableName) -> Option<TableNumber>;
    /// The name of the table with this number; virtual tables by their public name.
    fn name_of(&self, number: TableNumber) -> Option<TableName>;
    /// Whether the number is that of a private system table: one without a public name.
    fn is_system(&self, number: TableNumber) -> bool;
}

/// A failure and its path from the inside out, turned around once at the end.
struct Mismatch {
    failure: Failure,
    steps: Vec<PathSegment>,
}

type Checked = Result<(), Box<Mismatch>>;

impl Validator {
    /// Checks a value; the error is the first mismatch.
    pub fn check(&self, value: &Value, tables: &dyn Tables) -> Result<(), ValidationError> {
        self.check_inner(value, tables).map_err(|mismatch| {
            let Mismatch { failure, mut steps } = *mismatch;
            steps.reverse();
            ValidationError { failure, path: Path(steps) }
        })
    }

    /// Checks the arguments of a call: exactly one, an object that matches; `v.any()` takes all.
    ///
    /// Errors: the text for the caller, with the prefix `ArgumentValidationError: `.
    pub fn check_args(&self, args: &[Value], tables: &dyn Tables) -> Result<(), String> {
        if *self == Validator::Any {
            return Ok(());
        }
        let prefix = "ArgumentValidationError: ";
        let [arg] = args else {
            return Err(format!(
                "{prefix}a function with an argument validator takes exactly one argument, \
                 got {}",
                args.len()
            ));
        };
        if arg.as_object().is_none() {
            return Err(format!(
                "{prefix}a function with an argument validator takes an object, got {arg}"
            ));
        }
        self.check(arg, tables).map_err(|error| format!("{prefix}{error}"))
    }

    /// Checks the result of a call.
    ///
    /// Errors: the text for the caller, with the prefix `ReturnsValidationError: `.
    pub fn check_returns(&self, value: &Value, tables: &dyn Tables) -> Result<(), String> {
        self.check(value, tables).map_err(|error| format!("ReturnsValidationError: {error}"))
    }

    fn check_inner(&self, value: &Value, tables: &dyn Tables) -> Checked {
        match (self, value) {
            (Validator::Any, _)
            | (Validator::Null, Value::Null)
            | (Validator::Number, Value::Float64(_))
            | (Validator::Bigint | Validator::CommitTs, Value::Int64(_))
            | (Validator::Boolean, Value::Boolean(_))
            | (Validator::String, Value::String(_))
            | (Validator::Bytes, Value::Bytes(_)) => Ok(()),
            (Validator::Literal(literal), value) => {
                if value == literal {
                    return Ok(());
                }
                let (value, literal) = (value.clone(), literal.clone());
                fail(Failure::LiteralValuesDoNotMatch { value, literal })
            }
            (Validator::Id(table), Value::String(text)) => match check_id(text, table, tables) {
                IdCheck::Matches => Ok(()),
                IdCheck::Unknown => self.no_match(value),
                IdCheck::Fails(failure) => fail(failure),
            },
            (Validator::Array(item), Value::Array(items)) => {
                items.iter().enumerate().try_for_each(|(i, value)| {
                    at(item.check_inner(value, tables), || PathSegment::Index(i))
                })
            }
            (Validator::Object(validator), Value::Object(object)) => {
                validator.check_object(object, tables)
            }
            (Validator::Record { keys, values }, Value::Object(object)) => {
                object.iter().try_for_each(|(name, field)| {
                    let key = Value::String(name.clone());
                    at(keys.check_inner(&key, tables), || PathSegment::Keys)?;
                    at(values.check_inner(field, tables), || PathSegment::Values)
                })
            }
            (Validator::Union(members), value) => match members.as_slice() {
                [member] => member.check_inner(value, tables),
                members => {
                    let accepts = |member: &Validator| member.check_inner(value, tables).is_ok();
                    if members.iter().any(accepts) { Ok(()) } else { self.no_match(value) }
                }
            },
            (
                Validator::Null
                | Validator::Number
                | Validator::Bigint
                | Validator::CommitTs
                | Validator::Boolean
                | Validator::String
                | Validator::Bytes
                | Validator::Id(_)
                | Validator::Array(_)
                | Validator::Object(_)
                | Validator::Record { .. },
                value,
            ) => self.no_match(value),
        }
    }

    fn no_match(&self, value: &Value) -> Checked {
        fail(Failure::NoMatch { value: value.clone(), validator: self.clone() })
    }
}

impl ObjectValidator {
    /// Declared fields first, in order; then the first undeclared one.
    fn check_object(&self, object: &Object, tables: &dyn Tables) -> Checked {
        for (name, field) in &self.fields {
            match object.get(name) {
                Some(value) => at(field.validator.check_inner(value, tables), || {
                    PathSegment::Field(name.clone())
                })?,
                None if field.optional => {}
                None => {
                    return fail(Failure::MissingRequiredField {
                        field: name.clone(),
                        object: object.clone(),
                        validator: self.clone(),
                    });
                }
            }
        }
        match object.keys().find(|name| !self.fields.contains_key(*name)) {
            None => Ok(()),
            Some(extra) => fail(Failure::ExtraField {
                field: extra.clone(),
                object: object.clone(),
                validator: self.clone(),
            }),
        }
    }
}

enum IdCheck {
    Matches,
    /// No id, or an id of a table that does not exist.
    Unknown,
    Fails(Failure),
}

fn check_id(text: &str, expected: &TableName, tables: &dyn Tables) -> IdCheck {
    let Ok(id) = text.parse::<DocumentId>() else {
        return IdCheck::Unknown;
    };
    let expected_name = expected.clone();
    if tables.is_system(id.table) {
        return IdCheck::Fails(Failure::SystemTableReference { id, expected: expected_name });
    }
    if tables.number_of(expected) == Some(id.table) {
        return IdCheck::Matches;
    }
    match tables.name_of(id.table) {
        None => IdCheck::Unknown,
        Some(found) => {
            IdCheck::Fails(Failure::TableNamesDoNotMatch { id, found, expected: expected_name })
        }
    }
}

fn fail(failure: Failure) -> Checked {
    Err(Box::new(Mismatch { failure, steps: Vec::new() }))
}

fn at(checked: Checked, step: impl FnOnce() -> PathSegment) -> Checked {
    checked.map_err(|mut mismatch| {
        mismatch.steps.push(step());
        mismatch
    })
}
