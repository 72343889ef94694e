//! What the definition of a table may not say.

use std::collections::BTreeSet;

use super::{SchemaError, TableSchema};
use crate::names::{FieldPath, IndexName, TableName};
use crate::validator::Validator;
use crate::value::Value;

/// Indexes of all kinds of one table, staged ones too.
pub const INDEXES_PER_TABLE_MAX: usize = 64;
/// Fields of a database index with the appended `_creationTime`.
pub const INDEX_FIELDS_MAX: usize = 16;
/// Filter fields of a search or vector index.
pub const INDEX_FILTER_FIELDS_MAX: usize = 16;
/// Shortest vectors of an index.
pub const VECTOR_DIMENSIONS_MIN: u32 = 2;
/// Longest vectors of an index.
pub const VECTOR_DIMENSIONS_MAX: u32 = 4096;

/// Index names that begin so are let through although they are reserved.
const FIVETRAN_PREFIX: &str = "_fivetran";

type Result<T> = std::result::Result<T, SchemaError>;

/// Checks one table, in the order: number and names of indexes, each index, pairs, fields.
pub(super) fn check_table(name: &TableName, table: &TableSchema) -> Result<()> {
    let fail = |code, text: String| Err(SchemaError::at(name.as_str(), code, text));
    let names: Vec<&IndexName> = (table.indexes.iter().map(|index| &index.name))
        .chain(table.search_indexes.iter().map(|index| &index.name))
        .chain(table.vector_indexes.iter().map(|index| &index.name))
        .collect();
    if names.len() > INDEXES_PER_TABLE_MAX {
        let text = format!("{} indexes, the limit is {INDEXES_PER_TABLE_MAX}", names.len());
        return fail("TooManyIndexes", text);
    }
    let mut seen = BTreeSet::new();
    for index in names {
        let text = index.as_str();
        let reserved = text == "by_id" || text == "by_creation_time" || text.starts_with('_');
        if reserved && !text.starts_with(FIVETRAN_PREFIX) {
            return fail("IndexNameReserved", format!("index name \"{index}\" is reserved"));
        }
        if !seen.insert(index) {
            return fail("IndexNamesNotUnique", format!("two indexes are named \"{index}\""));
        }
    }
    check_database_indexes(name, table)?;
    check_search_indexes(name, table)?;
    check_vector_indexes(name, table)
}

fn check_database_indexes(name: &TableName, table: &TableSchema) -> Result<()> {
    let fail = |code, text: String| Err(SchemaError::at(name.as_str(), code, text));
    for (i, index) in table.indexes.iter().enumerate() {
        let (label, fields) = (&index.name, &index.fields);
        if fields.is_empty() {
            return fail("EmptyIndex", format!("index \"{label}\" has no fields"));
        }
        for field in fields {
            if *field == FieldPath::id() {
                let text = format!("index \"{label}\" names _id, which ends every index");
                return fail("IndexFieldsContainId", text);
            }
            if *field == FieldPath::creation_time() {
                let text = format!("index \"{label}\" names _creationTime, which is added anyway");
                return fail("IndexFieldsContainCreationTime", text);
            }
        }
        check_fields(name, table, label, fields)?;
        if fields.len() + 1 > INDEX_FIELDS_MAX {
            let text = format!(
                "index \"{label}\" has {} fields with _creationTime, the limit is \
                 {INDEX_FIELDS_MAX}",
                fields.len() + 1
            );
            return fail("IndexTooManyFields", text);
        }
        if let Some(field) = first_repeated(fields) {
            let text = format!("index \"{label}\" names the field \"{field}\" twice");
            return fail("FieldsNotUniqueWithinIndex", text);
        }
        if let Some(twin) = table.indexes[..i].iter().find(|other| other.fields == *fields) {
            let text = format!("indexes \"{}\" and \"{label}\" have the same fields", twin.name);
            return fail("IndexNotUnique", text);
        }
    }
    Ok(())
}

fn check_search_indexes(name: &TableName, table: &TableSchema) -> Result<()> {
    for (i, index) in table.search_indexes.iter().enumerate() {
        check_filter_fields(name, table, &index.name, &index.filter_fields)?;
        check_fields(name, table, &index.name, std::slice::from_ref(&index.search_field))?;
        let filters: BTreeSet<_> = index.filter_fields.iter().collect();
        let twin = table.search_indexes[..i].iter().find(|other| {
            other.search_field == index.search_field
                && other.filter_fields.iter().collect::<BTreeSet<_>>() == filters
        });
        if let Some(twin) = twin {
            let text = format!(
                "search indexes \"{}\" and \"{}\" have the same fields",
                twin.name, index.name
            );
            return Err(SchemaError::at(name.as_str(), "SearchIndexFieldNotUnique", text));
        }
    }
    Ok(())
}

fn check_vector_indexes(name: &TableName, table: &TableSchema) -> Result<()> {
    let fail = |code, text: String| Err(SchemaError::at(name.as_str(), code, text));
    for (i, index) in table.vector_indexes.iter().enumerate() {
        let label = &index.name;
        if !(VECTOR_DIMENSIONS_MIN..=VECTOR_DIMENSIONS_MAX).contains(&index.dimensions) {
            let text = format!(
                "vector index \"{label}\" has {} dimensions, not {VECTOR_DIMENSIONS_MIN} to \
                 {VECTOR_DIMENSIONS_MAX}",
                index.dimensions
            );
            return fail("InvalidVectorDimensionError", text);
        }
        check_filter_fields(name, table, label, &index.filter_fields)?;
        check_fields(name, table, label, std::slice::from_ref(&index.vector_field))?;
        let segments: Vec<&str> = index.vector_field.segments().collect();
        let may_be_vector = |document: &Validator| may_be_at(document, &segments, is_vector);
        if table.document.as_ref().is_some_and(|document| !may_be_vector(document)) {
            let text = format!(
                "vector index \"{label}\": the field \"{}\" is never an array of float64",
                index.vector_field
            );
            return fail("SchemaDefinitionError", text);
        }
        let twin = table.vector_indexes[..i].iter().find(|other| {
            other.vector_field == index.vector_field && other.dimensions == index.dimensions
        });
        if let Some(twin) = twin {
            let text = format!(
                "vector indexes \"{}\" and \"{label}\" have the same field and dimensions",
                twin.name
            );
            return fail("VectorIndexFieldNotUnique", text);
        }
    }
    Ok(())
}

fn check_filter_fields(
    name: &TableName,
    table: &TableSchema,
    index: &IndexName,
    fields: &[FieldPath],
) -> Result<()> {
    let fail = |code, text: String| Err(SchemaError::at(name.as_str(), code, text));
    if fields.len() > INDEX_FILTER_FIELDS_MAX {
        let text = format!(
            "index \"{index}\" has {} filter fields, the limit is {INDEX_FILTER_FIELDS_MAX}",
            fields.len()
        );
        return fail("IndexTooManyFilterFields", text);
    }
    if let Some(field) = first_repeated(fields) {
        let text = format!("index \"{index}\" names the filter field \"{field}\" twice");
        return fail("FieldsNotUniqueWithinIndex", text);
    }
    check_fields(name, table, index, fields)
}

/// Fields must not be reserved, and must be able to exist.
fn check_fields(
    name: &TableName,
    table: &TableSchema,
    index: &IndexName,
    fields: &[FieldPath],
) -> Result<()> {
    for field in fields {
        let segments: Vec<&str> = field.segments().collect();
        if segments.iter().any(|segment| segment.starts_with('_')) {
            let text = format!("index \"{index}\" names the reserved field \"{field}\"");
            return Err(SchemaError::at(name.as_str(), "IndexFieldNameReserved", text));
        }
        let may_exist = |document| may_be_at(document, &segments, |_| true);
        if table.document.as_ref().is_some_and(|document| !may_exist(document)) {
            let text = format!(
                "index \"{index}\" names the field \"{field}\", which no document can have"
            );
            return Err(SchemaError::at(name.as_str(), "SchemaDefinitionError", text));
        }
    }
    Ok(())
}

/// Whether some value that matches may have, at this path, a value whose validator is `good`.
fn may_be_at(validator: &Validator, path: &[&str], good: fn(&Validator) -> bool) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return good(validator);
    };
    match validator {
        Validator::Any => true,
        Validator::Object(object) => {
            let field = object.fields.get(*first);
            field.is_some_and(|field| may_be_at(&field.validator, rest, good))
        }
        Validator::Union(members) => members.iter().any(|member| may_be_at(member, path, good)),
        Validator::Record { values, .. } => may_be_at(values, rest, good),
        Validator::Null
        | Validator::Number
        | Validator::Bigint
        | Validator::Boolean
        | Validator::String
        | Validator::Bytes
        | Validator::CommitTs
        | Validator::Literal(_)
        | Validator::Id(_)
        | Validator::Array(_) => false,
    }
}

/// Whether some value that matches is an array of float64.
fn is_vector(validator: &Validator) -> bool {
    match validator {
        Validator::Any => true,
        Validator::Array(item) => may_be_number(item),
        Validator::Union(members) => members.iter().any(is_vector),
        Validator::Null
        | Validator::Number
        | Validator::Bigint
        | Validator::Boolean
        | Validator::String
        | Validator::Bytes
        | Validator::CommitTs
        | Validator::Literal(_)
        | Validator::Id(_)
        | Validator::Object(_)
        | Validator::Record { .. } => false,
    }
}

fn may_be_number(validator: &Validator) -> bool {
    match validator {
        Validator::Any | Validator::Number | Validator::Literal(Value::Float64(_)) => true,
        Validator::Union(members) => members.iter().any(may_be_number),
        Validator::Null
        | Validator::Bigint
        | Validator::Boolean
        | Validator::String
        | Validator::Bytes
        | Validator::CommitTs
        | Validator::Literal(_)
        | Validator::Id(_)
        | Validator::Array(_)
        | Validator::Object(_)
        | Validator::Record { .. } => false,
    }
}

fn first_repeated(fields: &[FieldPath]) -> Option<&FieldPath> {
    let mut seen = BTreeSet::new();
    fields.iter().find(|field| !seen.insert(*field))
}
