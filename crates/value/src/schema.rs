//! Schemas: the tables of a namespace, their indexes and what their documents may look like.
//!
//! - here: the types; `form`: the exported JSON; `rules`: what a definition may not say
//!
//! Source: spec/data-model.md, section 11.

mod form;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::rules::{
    INDEX_FIELDS_MAX, INDEX_FILTER_FIELDS_MAX, INDEXES_PER_TABLE_MAX, VECTOR_DIMENSIONS_MAX,
    VECTOR_DIMENSIONS_MIN,
};
use crate::names::{FieldPath, IndexName, TableName};
use crate::validator::Validator;

/// The tables that a deployment declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The declared tables; others may exist.
    pub tables: BTreeMap<TableName, TableSchema>,
    /// Whether documents are checked against the validators of their tables.
    pub validation: bool,
}

/// One declared table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSchema {
    /// Database indexes, in order of declaration; the built-in ones are not among them.
    pub indexes: Vec<IndexSchema>,
    /// Text search indexes.
    pub search_indexes: Vec<SearchIndexSchema>,
    /// Vector indexes.
    pub vector_indexes: Vec<VectorIndexSchema>,
    /// What documents must match, without `_id` and `_creationTime`; `None`: anything.
    pub document: Option<Validator>,
    /// Whether the rows live in memory only. An extension: `"ephemeral": true` in the export.
    pub ephemeral: bool,
}

/// A database index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSchema {
    /// Its name in the table.
    pub name: IndexName,
    /// The declared fields; `_creationTime`, which ends every key, is not among them.
    pub fields: Vec<FieldPath>,
    /// Whether it is built but not yet used.
    pub staged: bool,
}

/// A text search index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchIndexSchema {
    /// Its name in the table.
    pub name: IndexName,
    /// The field whose words are found.
    pub search_field: FieldPath,
    /// The fields that a search may fix.
    pub filter_fields: Vec<FieldPath>,
    /// Whether it is built but not yet used.
    pub staged: bool,
}

/// A vector index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorIndexSchema {
    /// Its name in the table.
    pub name: IndexName,
    /// The field that holds the vector.
    pub vector_field: FieldPath,
    /// Length of the vectors.
    pub dimensions: u32,
    /// The fields that a search may fix.
    pub filter_fields: Vec<FieldPath>,
    /// Whether it is built but not yet used.
    pub staged: bool,
}

/// A definition that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// The code for clients, such as `IndexNotUnique`.
    pub code: &'static str,
    /// What is wrong, for people; starts with the table where there is one.
    pub message: String,
}

impl SchemaError {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        SchemaError { code, message: message.into() }
    }

    fn at(table: &str, code: &'static str, message: impl std::fmt::Display) -> Self {
        SchemaError { code, message: format!("\"{table}\": {message}") }
    }
}
