//! A database query as plain data, and the stream of its rows.
//!
//!     table · index · bounds · order ─► scan ─► operators in order ─► rows
//!
//! Both languages make plans. A full table scan is a scan of `by_creation_time`. Source:
//! spec/data-model.md 13.

mod json;

use std::sync::Arc;

use engine::range::{self, RangeBound};
use engine::{Document, IndexDef, IndexKind, Order, Row, Scan, Transaction, filter, system};
use value::{IndexName, Interval, TableName};

use crate::error::{Error, Result};

/// Most operators of one query.
pub const OPERATORS_MAX: usize = 256;

/// A step that rows go through.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// Keeps rows for which the expression is true.
    Filter(filter::Expr),
    /// Ends after so many rows.
    Limit(usize),
}

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryPlan {
    /// The table, or a virtual table of the system.
    pub table: TableName,
    /// The index; None: the whole table in creation order.
    pub index: Option<IndexName>,
    /// Bounds of the index range.
    pub bounds: Vec<RangeBound>,
    /// Direction.
    pub order: Order,
    /// Steps, first to last.
    pub operators: Vec<Operator>,
    /// Reads a system table; user tables then are an error, and the other way round.
    pub system: bool,
}

/// Where a plan reads: its index and the interval of keys.
pub(crate) struct Source {
    pub(crate) index: Arc<IndexDef>,
    pub(crate) interval: Interval,
    view: Option<View>,
}

/// What users see of a row of a system table; None: nothing.
type View = fn(&Document) -> Option<Document>;

/// Rows of a plan on their way.
pub(crate) struct Stream {
    scan: Option<Scan>,
    view: Option<View>,
    operators: Vec<Operator>,
}

/// What one step of a stream gives.
pub(crate) enum Step {
    /// A row that passed all operators.
    Row(Row),
    /// A row that was read and dropped.
    Dropped(Row),
    /// Nothing more.
    End,
}

impl QueryPlan {
    /// All documents of a table in creation order.
    pub fn table(table: TableName) -> QueryPlan {
        QueryPlan {
            table,
            index: None,
            bounds: Vec::new(),
            order: Order::Asc,
            operators: Vec::new(),
            system: false,
        }
    }

    /// Where it reads. None: a table that does not exist has no rows.
    ///
    /// Errors: `SystemTableError`, `IndexNotFoundError`, and those of a bad range.
    pub(crate) fn source(&self, tx: &mut Transaction) -> Result<Option<Source>> {
        if self.operators.len() > OPERATORS_MAX {
            let text = format!("Query has too many operators: {}", self.operators.len());
            return Err(Error::coded("TooManyOperators", text));
        }
        let (table, view) = self.backing()?;
        if self.index.is_none() && tx.table(&table).is_none() {
            return Ok(None);
        }
        let name = self.index.clone().unwrap_or_else(IndexName::by_creation_time);
        let index = tx.index(&table, &name)?;
        let interval = match index.kind {
            IndexKind::ById => range::interval_by_id(index.number, &self.bounds),
            IndexKind::Fields => range::interval(&index.fields, &self.bounds),
        };
        let interval = interval.map_err(|error| Error::coded(error.code, error.message))?;
        Ok(Some(Source { index, interval, view }))
    }

    /// The stored table behind the name, and how its rows are shown.
    fn backing(&self) -> Result<(TableName, Option<View>)> {
        if !self.system {
            refuse_system_table(&self.table)?;
            return Ok((self.table.clone(), None));
        }
        let backing = system::VIRTUAL.iter().find(|(public, _)| *public == self.table.as_str());
        let Some((public, backing)) = backing else {
            return Err(system_table_error(&self.table));
        };
        if let Some(index) = &self.index
            && *index != IndexName::by_id()
            && *index != IndexName::by_creation_time()
        {
            let text = format!("Index {}.{index} not found.", self.table);
            return Err(Error::coded("IndexNotFoundError", text));
        }
        let name = TableName::new(backing.name).expect("names of system tables are well formed");
        Ok((name, Some(view_of(public))))
    }
}

impl Stream {
    /// The rows of `plan` from `source`; None: no rows.
    pub(crate) fn open(tx: &mut Transaction, plan: &QueryPlan, source: Option<Source>) -> Stream {
        let view = source.as_ref().and_then(|source| source.view);
        let scan = source.map(|source| {
            let scan = tx.scan(&source.index, source.interval, plan.order);
            match plan.operators.first() {
                // Nothing is dropped before the limit, so more is never needed.
                Some(Operator::Limit(limit)) => scan.prefetching((*limit).min(PREFETCH)),
                Some(Operator::Filter(_)) | None => scan.prefetching(PREFETCH),
            }
        });
        Stream { scan, view, operators: plan.operators.clone() }
    }

    /// The next row that passes, skipping those that do not.
    pub(crate) fn next(&mut self, tx: &mut Transaction) -> Result<Option<Row>> {
        loop {
            match self.step(tx)? {
                Step::Row(row) => return Ok(Some(row)),
                Step::Dropped(_) => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// Reads one row.
    pub(crate) fn step(&mut self, tx: &mut Transaction) -> Result<Step> {
        if self.operators.iter().any(|operator| matches!(operator, Operator::Limit(0))) {
            return Ok(Step::End);
        }
        let Some(scan) = &mut self.scan else { return Ok(Step::End) };
        let Some(mut row) = tx.next(scan)? else { return Ok(Step::End) };
        if let Some(view) = self.view {
            match view(&row.document) {
                Some(shown) => row.document = Arc::new(shown),
                None => return Ok(Step::Dropped(row)),
            }
        }
        for operator in &mut self.operators {
            match operator {
                Operator::Limit(left) => *left -= 1,
                Operator::Filter(expression) => {
                    let passes = expression.eval(row.document.body()).map_err(|error| {
                        Error::coded(filter::EvalError::CODE, error.to_string())
                    })?;
                    if !passes {
                        return Ok(Step::Dropped(row));
                    }
                }
            }
        }
        Ok(Step::Row(row))
    }
}

/// Rows fetched at once, at most. Source: spec/data-model.md 13.3.
const PREFETCH: usize = 100;

/// Fails for names that user code reaches through `system()` only.
pub(crate) fn refuse_system_table(table: &TableName) -> Result<()> {
    if table.is_system() { Err(system_table_error(table)) } else { Ok(()) }
}

fn system_table_error(table: &TableName) -> Error {
    let text = if table.is_system() {
        format!("System table \"{table}\" is not accessible here")
    } else {
        format!("\"{table}\" is not a system table")
    };
    Error::coded("SystemTableError", text)
}

fn view_of(public: &str) -> View {
    match public {
        "_scheduled_functions" => crate::scheduler::view,
        _ => crate::database::storage_view,
    }
}
