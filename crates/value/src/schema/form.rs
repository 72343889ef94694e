//! The exported JSON form of a schema.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::rules::check_table;
use super::{IndexSchema, Schema, SchemaError, SearchIndexSchema, TableSchema, VectorIndexSchema};
use crate::names::{FieldPath, IndexName, TableName};
use crate::validator::{INVALID_VALIDATOR, Validator};

type Result<T> = std::result::Result<T, SchemaError>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaForm {
    tables: Vec<TableForm>,
    #[serde(default)]
    schema_validation: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TableForm {
    table_name: String,
    #[serde(default)]
    indexes: Option<Vec<IndexForm>>,
    #[serde(default)]
    staged_db_indexes: Option<Vec<IndexForm>>,
    #[serde(default)]
    search_indexes: Option<Vec<SearchForm>>,
    #[serde(default)]
    staged_search_indexes: Option<Vec<SearchForm>>,
    #[serde(default)]
    vector_indexes: Option<Vec<VectorForm>>,
    #[serde(default)]
    staged_vector_indexes: Option<Vec<VectorForm>>,
    #[serde(default)]
    document_type: Option<Json>,
    #[serde(default)]
    ephemeral: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexForm {
    index_descriptor: String,
    fields: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SearchForm {
    index_descriptor: String,
    search_field: String,
    #[serde(default)]
    filter_fields: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VectorForm {
    index_descriptor: String,
    vector_field: String,
    dimensions: f64,
    #[serde(default)]
    filter_fields: Vec<String>,
}

impl Schema {
    /// Reads the exported form and checks the definition.
    ///
    /// Errors: `InvalidSchema` when the form is wrong, else the code of the broken rule.
    pub fn from_json(text: &str) -> Result<Schema> {
        let form = serde_json::from_str(text);
        Schema::from_form(form.map_err(|error| invalid_form(&error))?)
    }

    /// As [`Schema::from_json`], from a tree.
    pub fn from_json_value(json: Json) -> Result<Schema> {
        let form = serde_json::from_value(json);
        Schema::from_form(form.map_err(|error| invalid_form(&error))?)
    }

    /// The exported form; tables in order of name.
    pub fn to_json(&self) -> Json {
        let tables = self.tables.iter().map(|(name, table)| table.to_json(name));
        json!({ "tables": tables.collect::<Vec<_>>(), "schemaValidation": self.validation })
    }

    fn from_form(form: SchemaForm) -> Result<Schema> {
        let mut schema =
            Schema { validation: form.schema_validation.unwrap_or(false), ..Schema::default() };
        for table in form.tables {
            let name = read_table_name(&table.table_name)?;
            let table = read_table(table)?;
            check_table(&name, &table)?;
            if schema.tables.insert(name.clone(), table).is_some() {
                let text = "table is declared twice";
                return Err(SchemaError::at(name.as_str(), "InvalidSchema", text));
            }
        }
        Ok(schema)
    }
}

fn invalid_form(error: &serde_json::Error) -> SchemaError {
    SchemaError::new("InvalidSchema", format!("not an exported schema: {error}"))
}

fn read_table_name(text: &str) -> Result<TableName> {
    let name = TableName::new(text)
        .map_err(|error| SchemaError::new("InvalidTableName", error.to_string()))?;
    if name.is_system() {
        let text = "names that start with '_' are reserved";
        return Err(SchemaError::at(name.as_str(), "TableNameReserved", text));
    }
    Ok(name)
}

fn read_table(form: TableForm) -> Result<TableSchema> {
    let table = form.table_name.as_str();
    let mut schema = TableSchema { ephemeral: form.ephemeral == Some(true), ..Default::default() };
    for (list, staged) in [(form.indexes, false), (form.staged_db_indexes, true)] {
        for index in list.unwrap_or_default() {
            let name = read_index_name(table, &index.index_descriptor)?;
            let fields = read_fields(table, &name, &index.fields)?;
            schema.indexes.push(IndexSchema { name, fields, staged });
        }
    }
    for (list, staged) in [(form.search_indexes, false), (form.staged_search_indexes, true)] {
        for index in list.unwrap_or_default() {
            let name = read_index_name(table, &index.index_descriptor)?;
            let search_field = read_field(table, &name, &index.search_field)?;
            let filter_fields = read_fields(table, &name, &index.filter_fields)?;
            let search = SearchIndexSchema { name, search_field, filter_fields, staged };
            schema.search_indexes.push(search);
        }
    }
    for (list, staged) in [(form.vector_indexes, false), (form.staged_vector_indexes, true)] {
        for index in list.unwrap_or_default() {
            schema.vector_indexes.push(read_vector(table, &index, staged)?);
        }
    }
    schema.document = form.document_type.map(|json| read_document(table, &json)).transpose()?;
    Ok(schema)
}

fn read_vector(table: &str, form: &VectorForm, staged: bool) -> Result<VectorIndexSchema> {
    let name = read_index_name(table, &form.index_descriptor)?;
    // Casts of floats saturate, so a number out of range stays out of range for the rules.
    let dimensions = form.dimensions as u32;
    if f64::from(dimensions) != form.dimensions {
        let text = format!("vector index \"{name}\" has {} dimensions", form.dimensions);
        return Err(SchemaError::at(table, "InvalidVectorDimensionError", text));
    }
    let vector_field = read_field(table, &name, &form.vector_field)?;
    let filter_fields = read_fields(table, &name, &form.filter_fields)?;
    Ok(VectorIndexSchema { name, vector_field, dimensions, filter_fields, staged })
}

fn read_index_name(table: &str, text: &str) -> Result<IndexName> {
    IndexName::new(text).map_err(|error| SchemaError::at(table, "InvalidIndexName", error))
}

fn read_field(table: &str, index: &IndexName, text: &str) -> Result<FieldPath> {
    FieldPath::new(text).map_err(|error| {
        SchemaError::at(table, "InvalidIndexField", format!("index \"{index}\": {error}"))
    })
}

fn read_fields(table: &str, index: &IndexName, texts: &[String]) -> Result<Vec<FieldPath>> {
    texts.iter().map(|text| read_field(table, index, text)).collect()
}

/// The validator of documents, without the top-level fields that start with `_`.
fn read_document(table: &str, json: &Json) -> Result<Validator> {
    let mut document = Validator::from_json(json).map_err(|error| {
        let code = if error.code == INVALID_VALIDATOR { "InvalidSchema" } else { error.code };
        SchemaError::at(table, code, error.message)
    })?;
    if !drop_system_fields(&mut document) {
        let text = format!("documents must be objects, a union of objects or any: {document}");
        return Err(SchemaError::at(table, "InvalidTopLevelTypeInSchemaError", text));
    }
    Ok(document)
}

/// Drops them in place; `false` when the validator is not one of documents.
fn drop_system_fields(document: &mut Validator) -> bool {
    match document {
        Validator::Any => true,
        Validator::Object(object) => {
            object.fields.retain(|name, _| !name.starts_with('_'));
            true
        }
        Validator::Union(members) => members
            .iter_mut()
            .all(|member| !matches!(member, Validator::Any) && drop_system_fields(member)),
        Validator::Null
        | Validator::Number
        | Validator::Bigint
        | Validator::Boolean
        | Validator::String
        | Validator::Bytes
        | Validator::CommitTs
        | Validator::Literal(_)
        | Validator::Id(_)
        | Validator::Array(_)
        | Validator::Record { .. } => false,
    }
}

impl TableSchema {
    fn to_json(&self, name: &TableName) -> Json {
        let mut json = Map::new();
        json.insert("tableName".to_owned(), name.as_str().into());
        for (key, staged) in [("indexes", false), ("stagedDbIndexes", true)] {
            let list = self.indexes.iter().filter(|index| index.staged == staged);
            json.insert(key.to_owned(), list.map(IndexSchema::to_json).collect());
        }
        for (key, staged) in [("searchIndexes", false), ("stagedSearchIndexes", true)] {
            let list = self.search_indexes.iter().filter(|index| index.staged == staged);
            json.insert(key.to_owned(), list.map(SearchIndexSchema::to_json).collect());
        }
        for (key, staged) in [("vectorIndexes", false), ("stagedVectorIndexes", true)] {
            let list = self.vector_indexes.iter().filter(|index| index.staged == staged);
            json.insert(key.to_owned(), list.map(VectorIndexSchema::to_json).collect());
        }
        if let Some(document) = &self.document {
            json.insert("documentType".to_owned(), document.to_json());
        }
        if self.ephemeral {
            json.insert("ephemeral".to_owned(), true.into());
        }
        Json::Object(json)
    }
}

impl IndexSchema {
    fn to_json(&self) -> Json {
        json!({ "indexDescriptor": self.name.as_str(), "fields": texts(&self.fields) })
    }
}

impl SearchIndexSchema {
    fn to_json(&self) -> Json {
        json!({
            "indexDescriptor": self.name.as_str(),
            "searchField": self.search_field.as_str(),
            "filterFields": texts(&self.filter_fields),
        })
    }
}

impl VectorIndexSchema {
    fn to_json(&self) -> Json {
        json!({
            "indexDescriptor": self.name.as_str(),
            "vectorField": self.vector_field.as_str(),
            "dimensions": self.dimensions,
            "filterFields": texts(&self.filter_fields),
        })
    }
}

fn texts(fields: &[FieldPath]) -> Vec<&str> {
    fields.iter().map(FieldPath::as_str).collect()
}
