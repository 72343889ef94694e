//! How documents of a table look in an export, as JSON Schema (draft 07).
//!
//! Consumers make columns of it, so a table is always one object: of several declared kinds of
//! documents each field may be what it is in any of them. Source: spec/http-api.md 11.3.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Tree, json};
use value::json::Format;
use value::validator::{FieldValidator, ObjectValidator, Validator};
use value::{Object, TableName, Value};

/// The fields of a table without those of the system, and whether there may be others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) fields: BTreeMap<String, FieldValidator>,
    open: bool,
}

/// The fields that a schema declares; `None`: it allows any.
pub(super) fn declared(document: &Validator) -> Option<Columns> {
    let mut kinds = Vec::new();
    collect_kinds(document, &mut kinds)?;
    let mut fields = BTreeMap::new();
    for kind in &kinds {
        for (name, field) in &kind.fields {
            let known = fields.entry(name.clone()).or_insert_with(|| FieldValidator {
                validator: Validator::Union(Vec::new()),
                optional: false,
            });
            add(&mut known.validator, &field.validator);
            known.optional |= field.optional;
        }
    }
    for (name, field) in &mut fields {
        field.optional |= kinds.iter().any(|kind| !kind.fields.contains_key(name));
        simplify(&mut field.validator);
    }
    Some(Columns { fields, open: false })
}

/// The fields of documents that no schema describes, by what is in them.
pub(super) fn observed<'a>(documents: impl Iterator<Item = &'a Object>) -> Columns {
    let mut fields: BTreeMap<String, FieldValidator> = BTreeMap::new();
    for document in documents {
        for (name, value) in document.iter().filter(|(name, _)| !name.starts_with('_')) {
            let known = fields.entry(name.to_string()).or_insert_with(|| FieldValidator {
                validator: Validator::Union(Vec::new()),
                optional: true,
            });
            add(&mut known.validator, &kind_of(value));
        }
    }
    for field in fields.values_mut() {
        // The same whichever document came first.
        if let Validator::Union(members) = &mut field.validator {
            members.sort_by_key(Validator::to_string);
        }
        simplify(&mut field.validator);
    }
    Columns { fields, open: true }
}

fn collect_kinds<'a>(document: &'a Validator, kinds: &mut Vec<&'a ObjectValidator>) -> Option<()> {
    match document {
        Validator::Object(object) => kinds.push(object),
        Validator::Union(members) => {
            for member in members {
                collect_kinds(member, kinds)?;
            }
        }
        Validator::Null
        | Validator::Number
        | Validator::Bigint
        | Validator::Boolean
        | Validator::String
        | Validator::Bytes
        | Validator::Any
        | Validator::CommitTs
        | Validator::Literal(_)
        | Validator::Id(_)
        | Validator::Array(_)
        | Validator::Record { .. } => return None,
    }
    Some(())
}

fn add(union: &mut Validator, member: &Validator) {
    if let Validator::Union(members) = union
        && !members.contains(member)
    {
        members.push(member.clone());
    }
}

fn simplify(validator: &mut Validator) {
    if let Validator::Union(members) = validator
        && members.len() == 1
    {
        *validator = members.remove(0);
    }
}

fn kind_of(value: &Value) -> Validator {
    let any = || Box::new(Validator::Any);
    match value {
        Value::Null => Validator::Null,
        Value::Int64(_) => Validator::Bigint,
        Value::Float64(_) => Validator::Number,
        Value::Boolean(_) => Validator::Boolean,
        Value::String(_) => Validator::String,
        Value::Bytes(_) => Validator::Bytes,
        Value::Array(_) => Validator::Array(any()),
        Value::Object(_) => Validator::Record { keys: Box::new(Validator::String), values: any() },
    }
}

/// The schema of a table's documents in `format`, with what deltas say of them if `deltas`.
pub(super) fn of_table(table: &TableName, columns: &Columns, format: Format, deltas: bool) -> Tree {
    let mut object = of_fields(&columns.fields, format);
    object.open = columns.open;
    object.add("_id", of_id(table), true);
    object.add("_creationTime", of_validator(&Validator::Number, format), true);
    if deltas {
        // Of a deleted document there is its id alone.
        object.required = vec!["_id".to_owned()];
        object.add("_component", json!({"type": "string"}), true);
        object.add("_table", json!({"type": "string"}), true);
        object.add("_ts", json!({"type": "integer"}), true);
        object.add("_deleted", json!({"type": "boolean"}), false);
    }
    let mut schema = object.into_tree();
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema
}

#[derive(Default)]
struct ObjectSchema {
    properties: Map<String, Tree>,
    required: Vec<String>,
    open: bool,
}

impl ObjectSchema {
    fn add(&mut self, name: &str, schema: Tree, required: bool) {
        self.properties.insert(name.to_owned(), schema);
        if required && !self.required.iter().any(|known| known == name) {
            self.required.push(name.to_owned());
        }
    }

    fn into_tree(mut self) -> Tree {
        self.required.sort();
        json!({
            "type": "object",
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": self.open,
        })
    }
}

fn of_fields(fields: &BTreeMap<String, FieldValidator>, format: Format) -> ObjectSchema {
    let mut object = ObjectSchema::default();
    for (name, field) in fields {
        object.add(name, of_validator(&field.validator, format), !field.optional);
    }
    object
}

fn of_id(table: &TableName) -> Tree {
    json!({"type": "string", "$description": format!("Id({table})")})
}

fn of_validator(validator: &Validator, format: Format) -> Tree {
    match validator {
        Validator::Null => json!({"type": "null"}),
        Validator::Number => of_number(format),
        Validator::Bigint | Validator::CommitTs => match format {
            Format::Clean => described("string", "an integer of 64 bits, in decimal digits"),
            Format::Encoded => of_special("$integer", "an integer of 64 bits, little endian"),
            Format::Export => json!({"type": "integer"}),
        },
        Validator::Boolean => json!({"type": "boolean"}),
        Validator::String => json!({"type": "string"}),
        Validator::Bytes => match format {
            Format::Clean => described("string", "bytes in base64"),
            Format::Encoded | Format::Export => of_special("$bytes", "bytes in base64"),
        },
        Validator::Any => json!({}),
        Validator::Literal(value) => json!({"const": format.to_json(value)}),
        Validator::Id(table) => of_id(table),
        Validator::Array(item) => json!({"type": "array", "items": of_validator(item, format)}),
        Validator::Object(object) => of_fields(&object.fields, format).into_tree(),
        Validator::Union(members) if members.is_empty() => json!({"not": {}}),
        Validator::Union(members) => {
            let members: Vec<Tree> = members.iter().map(|m| of_validator(m, format)).collect();
            json!({"anyOf": members})
        }
        Validator::Record { keys: _, values } => {
            json!({"type": "object", "additionalProperties": of_validator(values, format)})
        }
    }
}

/// Plain JSON has no word for NaN. A column of numbers is worth more there than the last three words.
fn of_number(format: Format) -> Tree {
    match format {
        Format::Clean => described("number", "NaN, Infinity and -Infinity come as strings"),
        Format::Encoded | Format::Export => {
            let special =
                of_special("$float", "a number that JSON cannot hold, little endian in base64");
            json!({"anyOf": [{"type": "number"}, special]})
        }
    }
}

fn described(kind: &str, description: &str) -> Tree {
    json!({"type": kind, "$description": description})
}

fn of_special(name: &str, description: &str) -> Tree {
    json!({
        "type": "object",
        "properties": {name: {"type": "string"}},
        "required": [name],
        "additionalProperties": false,
        "$description": description,
    })
}
