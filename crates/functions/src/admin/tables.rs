//! Tables: their documents by number, their indexes, and what the schema says of them.

use std::sync::Arc;

use engine::{IndexDef, IndexState, TableDef};
use serde_json::Value as Json;

use crate::error::Result;
use crate::runtime::Runtime;

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableView {
    /// Its name.
    pub name: String,
    /// How many documents it has; known without reading them.
    pub documents: u64,
    /// Its indexes, the built-in ones first.
    pub indexes: Vec<IndexView>,
    /// Whether the schema names it.
    pub declared: bool,
    /// Whether its rows live in memory only.
    pub ephemeral: bool,
    /// What its documents must match, as the JSON form of validators.
    pub validator: Option<Json>,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexView {
    /// Its name.
    pub name: String,
    /// Its fields in order, without the `_id` that ends every key.
    pub fields: Vec<String>,
    /// `enabled`, `backfilling` or `backfilled`.
    pub state: &'static str,
    /// Built and maintained, but not to be read.
    pub staged: bool,
}

impl Runtime {
    /// All tables of users by name.
    pub async fn tables(self: &Arc<Self>) -> Result<Vec<TableView>> {
        self.read(None, |_, tx| {
            let catalog = Arc::clone(tx.catalog());
            let schema = catalog.active_schema().map(|(_, schema)| Arc::clone(schema));
            let tables = catalog.tables().filter(|table| !table.system);
            tables
                .map(|table| {
                    let declared =
                        schema.as_ref().and_then(|schema| schema.tables.get(&table.name));
                    let documents = tx.count_unseen(table)?;
                    let validator = declared.and_then(|declared| declared.document.as_ref());
                    Ok(TableView {
                        name: table.name.to_string(),
                        documents,
                        indexes: indexes(table),
                        declared: declared.is_some(),
                        ephemeral: declared.is_some_and(|declared| declared.ephemeral),
                        validator: validator.map(|validator| validator.to_json()),
                    })
                })
                .collect()
        })
        .await
    }
}

fn indexes(table: &TableDef) -> Vec<IndexView> {
    table.indexes.iter().map(|index| index_view(index)).collect()
}

fn index_view(index: &IndexDef) -> IndexView {
    IndexView {
        name: index.name.to_string(),
        fields: index.fields.iter().map(ToString::to_string).collect(),
        state: match index.state {
            IndexState::Backfilling => "backfilling",
            IndexState::Backfilled => "backfilled",
            IndexState::Enabled => "enabled",
        },
        staged: index.staged,
    }
}
