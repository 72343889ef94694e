//! Reads of system tables by their indexes.

use std::sync::Arc;

use engine::range::{self, RangeBound};
use engine::system::SystemTable;
use engine::{Document, Order, Transaction};
use value::{IndexName, TableName};

use crate::error::{Error, Result};

/// Rows of `table` by `index` within `bounds`, at most `limit`.
pub(crate) fn scan(
    tx: &mut Transaction,
    table: &SystemTable,
    index: &str,
    bounds: &[RangeBound],
    order: Order,
    limit: Option<usize>,
) -> Result<Vec<Arc<Document>>> {
    let name = TableName::new(table.name).expect("names of system tables are well formed");
    let index = IndexName::new(index).expect("names of indexes in the code are well formed");
    let index = tx.index(&name, &index)?;
    let interval = range::interval(&index.fields, bounds)
        .map_err(|error| Error::system("InternalServerError", error.message))?;
    let mut scan = tx.scan(&index, interval, order);
    let mut rows = Vec::new();
    while limit.is_none_or(|limit| rows.len() < limit) {
        match tx.next(&mut scan)? {
            Some(row) => rows.push(row.document),
            None => break,
        }
    }
    Ok(rows)
}
