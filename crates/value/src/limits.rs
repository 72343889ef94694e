//! Bounds on values, and the checks for them.
//!
//! Source: spec/data-model.md, sections 3 and 4; texts are ours, codes are the ones clients know.

use crate::object::Object;
use crate::value::Value;

/// Bytes of a document in a user table, with `_id` and `_creationTime`.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Levels of arrays and objects in a document.
pub const DOCUMENT_NESTING_MAX: usize = 16;
/// Bytes of any value.
pub const VALUE_BYTES_MAX: usize = 32 << 20;
/// Levels of arrays and objects in any value.
pub const VALUE_NESTING_MAX: usize = 64;
/// Items of one array.
pub const ARRAY_LENGTH_MAX: usize = 8192;
/// Fields of one object.
pub const OBJECT_FIELDS_MAX: usize = 1024;
/// Bytes of a field name.
pub const FIELD_NAME_BYTES_MAX: usize = 1024;
/// Bytes of an identifier: names of tables, indexes and functions, segments of a field path.
pub const IDENTIFIER_BYTES_MAX: usize = 64;
/// Bytes of the arguments of one call, by [`Value::size`].
pub const ARGUMENTS_BYTES_MAX: usize = 16 << 20;
/// Bytes of the result of one call, by [`Value::size`].
pub const RESULT_BYTES_MAX: usize = 16 << 20;

/// A text or a value that is not a legal value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValueError {
    /// The code for clients, such as `TooNestedError`.
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
}

impl ValueError {
    /// An error with this code and text.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        ValueError { code, message: message.into() }
    }
}

/// Most bytes of a foreign text that an error repeats.
pub const QUOTED_BYTES_MAX: usize = 200;

/// A foreign text as errors repeat it: quoted, with its escapes, and cut where it is long. Else an
/// error could be many times what somebody sent.
pub fn quoted(text: &str) -> String {
    if text.len() <= QUOTED_BYTES_MAX {
        return format!("{text:?}");
    }
    format!("{:?}…", &text[..text.floor_char_boundary(QUOTED_BYTES_MAX)])
}

/// Code of values that are malformed, not merely too large.
pub const INVALID_VALUE: &str = "InvalidValue";

/// Checks the name of an object field: printable ASCII without a leading `$`.
pub fn check_field_name(name: &str) -> Result<(), ValueError> {
    let error =
        |what| Err(ValueError::new(INVALID_VALUE, format!("field name {} {what}", quoted(name))));
    if name.len() > FIELD_NAME_BYTES_MAX {
        let text = format!("field name is longer than {FIELD_NAME_BYTES_MAX} bytes");
        return Err(ValueError::new(INVALID_VALUE, text));
    }
    if name.starts_with('$') {
        return error("starts with '$', which is reserved");
    }
    if !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return error("has a character that is not printable ASCII");
    }
    Ok(())
}

/// Checks the name of a top-level document field: no leading `_`, but `_id`, `_creationTime`.
pub fn check_document_field_name(name: &str) -> Result<(), ValueError> {
    check_field_name(name)?;
    if name.starts_with('_') && name != "_id" && name != "_creationTime" {
        let name = quoted(name);
        let text = format!("field {name} starts with '_', which is reserved for system fields");
        return Err(ValueError::new("InvalidDocumentError", text));
    }
    Ok(())
}

/// Checks the length of an array.
pub fn check_array_length(length: usize) -> Result<(), ValueError> {
    if length <= ARRAY_LENGTH_MAX {
        return Ok(());
    }
    let text = format!("array has {length} items, the limit is {ARRAY_LENGTH_MAX}");
    Err(ValueError::new("ArrayTooLong", text))
}

/// Checks the number of fields of an object.
pub fn check_field_count(count: usize) -> Result<(), ValueError> {
    if count <= OBJECT_FIELDS_MAX {
        return Ok(());
    }
    let text = format!("object has {count} fields, the limit is {OBJECT_FIELDS_MAX}");
    Err(ValueError::new("TooManyFieldsError", text))
}

/// Checks a size against [`VALUE_BYTES_MAX`].
pub fn check_value_size(size: usize) -> Result<(), ValueError> {
    if size <= VALUE_BYTES_MAX {
        return Ok(());
    }
    let text = format!("value has {size} bytes, the limit is {VALUE_BYTES_MAX}");
    Err(ValueError::new("ValueTooLargeError", text))
}

/// The error for a value with more than [`VALUE_NESTING_MAX`] levels.
pub fn too_nested() -> ValueError {
    let text = format!("value is nested deeper than {VALUE_NESTING_MAX} levels");
    ValueError::new("TooNestedError", text)
}

/// Checks everything that holds for any value: names, lengths, nesting, size.
pub fn check_value(value: &Value) -> Result<(), ValueError> {
    check_parts(value, 0)?;
    check_value_size(value.size())
}

/// Checks the limits of a document of a user table: names, lengths, nesting, size.
///
/// `document` carries `_id` and `_creationTime`, they count toward the size.
pub fn check_document(document: &Object) -> Result<(), ValueError> {
    check_field_count(document.len())?;
    for (name, value) in document {
        check_document_field_name(name)?;
        check_parts(value, 1)?;
    }
    let nesting = document.nesting();
    if nesting > DOCUMENT_NESTING_MAX {
        let text = format!("document has {nesting} levels, the limit is {DOCUMENT_NESTING_MAX}");
        return Err(ValueError::new("InvalidDocumentError", text));
    }
    let size = document.size();
    if size > DOCUMENT_BYTES_MAX {
        let text = format!("document has {size} bytes, the limit is {DOCUMENT_BYTES_MAX}");
        return Err(ValueError::new("ValueTooLargeError", text));
    }
    Ok(())
}

fn check_parts(value: &Value, depth: usize) -> Result<(), ValueError> {
    match value {
        Value::Null
        | Value::Int64(_)
        | Value::Float64(_)
        | Value::Boolean(_)
        | Value::String(_)
        | Value::Bytes(_) => Ok(()),
        Value::Array(_) | Value::Object(_) if depth >= VALUE_NESTING_MAX => Err(too_nested()),
        Value::Array(items) => {
            check_array_length(items.len())?;
            items.iter().try_for_each(|item| check_parts(item, depth + 1))
        }
        Value::Object(object) => {
            check_field_count(object.len())?;
            object.iter().try_for_each(|(name, field)| {
                check_field_name(name)?;
                check_parts(field, depth + 1)
            })
        }
    }
}

#[cfg(test)]
mod tests;
