//! The JSON form of validators.

use serde_json::{Map, Value as Json, json};

use super::{FieldValidator, ObjectValidator, Validator};
use crate::json;
use crate::limits::quoted;
use crate::names::{TableName, check_identifier};
use crate::value::Value;

/// Levels of nested validators.
pub const VALIDATOR_NESTING_MAX: usize = 64;

/// A text that does not define a validator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValidatorError {
    /// The code for clients, such as `InvalidRecordType`.
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
}

/// Code of definitions that break no rule of their own.
pub const INVALID_VALIDATOR: &str = "InvalidValidator";

type Result<T> = std::result::Result<T, ValidatorError>;

impl Validator {
    /// Reads the JSON form.
    ///
    /// Errors: `InvalidRecordType`, `UnsupportedFloatLiteral`, else `InvalidValidator`.
    pub fn from_json(json: &Json) -> Result<Validator> {
        read(json, 0)
    }

    /// Reads the JSON form from text.
    pub fn parse(text: &str) -> Result<Validator> {
        read(&parse_text(text)?, 0)
    }

    /// Reads the validator of arguments, which is that of an object or any.
    pub fn args_from_json(json: &Json) -> Result<Validator> {
        let validator = read(json, 0)?;
        if matches!(validator, Validator::Object(_) | Validator::Any) {
            return Ok(validator);
        }
        Err(invalid(format!("the validator of arguments must be an object or any: {validator}")))
    }

    /// Reads the validator of a result; JSON null means that results are not checked.
    pub fn returns_from_json(json: &Json) -> Result<Option<Validator>> {
        if json.is_null() { Ok(None) } else { read(json, 0).map(Some) }
    }

    /// The JSON form.
    pub fn to_json(&self) -> Json {
        match self {
            Validator::Null => json!({ "type": "null" }),
            Validator::Number => json!({ "type": "number" }),
            Validator::Bigint => json!({ "type": "bigint" }),
            Validator::Boolean => json!({ "type": "boolean" }),
            Validator::String => json!({ "type": "string" }),
            Validator::Bytes => json!({ "type": "bytes" }),
            Validator::Any => json!({ "type": "any" }),
            Validator::CommitTs => json!({ "type": "commitTs" }),
            Validator::Literal(value) => {
                json!({ "type": "literal", "value": json::to_json(value) })
            }
            Validator::Id(table) => json!({ "type": "id", "tableName": table.as_str() }),
            Validator::Array(item) => json!({ "type": "array", "value": item.to_json() }),
            Validator::Object(object) => json!({ "type": "object", "value": object.to_json() }),
            Validator::Union(members) => {
                let members: Vec<Json> = members.iter().map(Validator::to_json).collect();
                json!({ "type": "union", "value": members })
            }
            Validator::Record { keys, values } => json!({
                "type": "record",
                "keys": keys.to_json(),
                "values": field_json(values, false),
            }),
        }
    }
}

impl ObjectValidator {
    fn to_json(&self) -> Json {
        let fields = self.fields.iter();
        let field = |(name, field): (&String, &FieldValidator)| {
            (name.clone(), field_json(&field.validator, field.optional))
        };
        Json::Object(fields.map(field).collect())
    }
}

fn field_json(validator: &Validator, optional: bool) -> Json {
    json!({ "fieldType": validator.to_json(), "optional": optional })
}

fn parse_text(text: &str) -> Result<Json> {
    serde_json::from_str(text).map_err(|error| invalid(format!("invalid JSON: {error}")))
}

fn read(json: &Json, depth: usize) -> Result<Validator> {
    if depth >= VALIDATOR_NESTING_MAX {
        let text = format!("validator is nested deeper than {VALIDATOR_NESTING_MAX} levels");
        return Err(invalid(text));
    }
    let Some(object) = json.as_object() else {
        return Err(invalid("validator is not an object".to_owned()));
    };
    let Some(kind) = object.get("type").and_then(Json::as_str) else {
        return Err(invalid("validator has no \"type\"".to_owned()));
    };
    match kind {
        "null" => Ok(Validator::Null),
        "number" => Ok(Validator::Number),
        "bigint" => Ok(Validator::Bigint),
        "boolean" => Ok(Validator::Boolean),
        "string" => Ok(Validator::String),
        "bytes" => Ok(Validator::Bytes),
        // Types of old clients that no value has any more.
        "any" | "map" | "set" => Ok(Validator::Any),
        "commitTs" => Ok(Validator::CommitTs),
        "literal" => read_literal(member(object, kind, "value")?),
        "id" => {
            let name = member(object, kind, "tableName")?.as_str().unwrap_or_default();
            let table = TableName::new(name).map_err(|error| invalid(error.to_string()))?;
            Ok(Validator::Id(table))
        }
        "array" => {
            let item = read(member(object, kind, "value")?, depth + 1)?;
            Ok(Validator::Array(Box::new(item)))
        }
        "object" => read_object(member(object, kind, "value")?, depth).map(Validator::Object),
        "union" => {
            let Some(members) = member(object, kind, "value")?.as_array() else {
                return Err(invalid("members of a union are not an array".to_owned()));
            };
            let members = members.iter().map(|member| read(member, depth + 1));
            Ok(Validator::Union(members.collect::<Result<_>>()?))
        }
        "record" => read_record(object, depth),
        _ => Err(invalid(format!("unknown type of validator {}", quoted(kind)))),
    }
}

fn read_literal(json: &Json) -> Result<Validator> {
    let value = json::from_json(json.clone())
        .map_err(|error| invalid(format!("literal is not a value: {error}")))?;
    match &value {
        Value::Float64(f) if !f.is_finite() => Err(ValidatorError {
            code: "UnsupportedFloatLiteral",
            message: format!("literal may not be {value}"),
        }),
        Value::Float64(_) | Value::Int64(_) | Value::Boolean(_) | Value::String(_) => {
            Ok(Validator::Literal(value))
        }
        Value::Null | Value::Bytes(_) | Value::Array(_) | Value::Object(_) => {
            Err(invalid(format!("literal may not be of type {}", value.type_name())))
        }
    }
}

fn read_object(json: &Json, depth: usize) -> Result<ObjectValidator> {
    let Some(fields) = json.as_object() else {
        return Err(invalid("fields of an object validator are not an object".to_owned()));
    };
    let mut object = ObjectValidator::default();
    for (name, field) in fields {
        check_identifier("field", name).map_err(|error| invalid(error.to_string()))?;
        object.fields.insert(name.clone(), read_field(field, depth)?);
    }
    Ok(object)
}

fn read_record(object: &Map<String, Json>, depth: usize) -> Result<Validator> {
    let keys = read(member(object, "record", "keys")?, depth + 1)?;
    let values = read_field(member(object, "record", "values")?, depth)?;
    let error = |message: String| Err(ValidatorError { code: "InvalidRecordType", message });
    if !keys.is_subset_of(&Validator::String) {
        return error(format!("keys of a record must be strings, not {keys}"));
    }
    if has_literal(&keys) {
        return error(format!("keys of a record may not have literals: {keys}"));
    }
    if values.optional {
        return error("values of a record may not be optional".to_owned());
    }
    Ok(Validator::Record { keys: Box::new(keys), values: Box::new(values.validator) })
}

/// Whether a validator of strings has a literal member.
fn has_literal(keys: &Validator) -> bool {
    match keys {
        Validator::Literal(_) => true,
        Validator::Union(members) => members.iter().any(has_literal),
        Validator::Null
        | Validator::Number
        | Validator::Bigint
        | Validator::Boolean
        | Validator::String
        | Validator::Bytes
        | Validator::Any
        | Validator::CommitTs
        | Validator::Id(_)
        | Validator::Array(_)
        | Validator::Object(_)
        | Validator::Record { .. } => false,
    }
}

fn read_field(json: &Json, depth: usize) -> Result<FieldValidator> {
    let Some(field_type) = json.get("fieldType") else {
        return Err(invalid("field has no \"fieldType\"".to_owned()));
    };
    let optional = match json.get("optional") {
        None => false,
        Some(Json::Bool(optional)) => *optional,
        Some(_) => return Err(invalid("\"optional\" is not a boolean".to_owned())),
    };
    Ok(FieldValidator { validator: read(field_type, depth + 1)?, optional })
}

fn member<'a>(object: &'a Map<String, Json>, kind: &str, name: &str) -> Result<&'a Json> {
    object
        .get(name)
        .ok_or_else(|| invalid(format!("validator of type {} has no {name:?}", quoted(kind))))
}

fn invalid(message: String) -> ValidatorError {
    ValidatorError { code: INVALID_VALIDATOR, message }
}
