//! `ctx.db().query::<T>()`: a database query, step by step.
//!
//!     ctx.db().query::<Message>()
//!         .with_index("by_room", |q| q.eq("room", &args.room).gte("sent", since))
//!         .filter(|q| q.neq(q.field("author"), "bot"))
//!         .order(Order::Desc)
//!         .take(20)?
//!
//! Mistakes in names and values are kept and come out of the step that reads.

use std::marker::PhantomData;

use engine::filter::{Arithmetic, Comparison, Expr};
use engine::range::{RangeBound, RangeOp};
use engine::{Order, Row};
use serde::Serialize;
use value::{FieldPath, IndexName, TableName, Value};

use crate::call::Frame;
use crate::document::FromDocument;
use crate::error::{Error, Result};
use crate::paginate::{self, PaginationOptions, PaginationResult};
use crate::plan::{Operator, QueryPlan, Stream};
use crate::shape::Shape;

/// A query that has not read anything yet.
#[must_use = "a query reads nothing until first, unique, take, collect, paginate or iter"]
pub struct Query<'a, D> {
    frame: &'a Frame<'a>,
    plan: Result<QueryPlan>,
    rows: PhantomData<fn() -> D>,
}

impl<'a, D: FromDocument> Query<'a, D> {
    pub(crate) fn new(frame: &'a Frame<'a>, table: &str, system: bool) -> Self {
        let plan = TableName::new(table)
            .map(|table| QueryPlan { system, ..QueryPlan::table(table) })
            .map_err(|error| Error::coded("InvalidTableName", error.to_string()));
        Query { frame, plan, rows: PhantomData }
    }

    pub(crate) fn from_plan(frame: &'a Frame<'a>, plan: QueryPlan) -> Self {
        Query { frame, plan: Ok(plan), rows: PhantomData }
    }

    /// Reads an index in its order, within bounds on its leading fields.
    pub fn with_index(mut self, index: &str, range: impl FnOnce(Range) -> Range) -> Self {
        if let Ok(plan) = &mut self.plan {
            let name = IndexName::new(index)
                .map_err(|error| Error::coded("InvalidIndexName", error.to_string()));
            match (name, range(Range { bounds: Ok(Vec::new()) }).bounds) {
                (Ok(name), Ok(bounds)) => {
                    plan.index = Some(name);
                    plan.bounds = bounds;
                }
                (Err(error), _) | (_, Err(error)) => self.plan = Err(error),
            }
        }
        self
    }

    /// The direction; ascending unless told.
    pub fn order(mut self, order: Order) -> Self {
        if let Ok(plan) = &mut self.plan {
            plan.order = order;
        }
        self
    }

    /// Keeps documents for which the expression is true. Dropped ones are read all the same.
    pub fn filter(self, expression: impl FnOnce(Filter) -> Expr) -> Self {
        self.operator(Operator::Filter(expression(Filter)))
    }

    /// The first document.
    pub fn first(self) -> Result<Option<D>> {
        self.operator(Operator::Limit(1)).iter()?.next().transpose()
    }

    /// The only document. Errors: there is more than one.
    pub fn unique(self) -> Result<Option<D>> {
        let table = self.plan.as_ref().map(|plan| plan.table.to_string()).unwrap_or_default();
        let mut rows = self.operator(Operator::Limit(2)).rows()?;
        let Some(first) = rows.next()? else { return Ok(None) };
        if let Some(second) = rows.next()? {
            return Err(crate::error(format!(
                "unique() query returned more than one result from table {table}: [{}, {}, ...]",
                first.document.id(),
                second.document.id()
            )));
        }
        D::from_document(first.document).map(Some)
    }

    /// The first `n` documents.
    pub fn take(self, n: usize) -> Result<Vec<D>> {
        self.operator(Operator::Limit(n)).iter()?.collect()
    }

    /// All documents.
    pub fn collect(self) -> Result<Vec<D>> {
        self.iter()?.collect()
    }

    /// The documents one by one; what is not asked for is not read.
    pub fn iter(self) -> Result<Rows<'a, D>> {
        Ok(Rows { rows: self.rows()?, documents: PhantomData })
    }

    /// One page. At most once in each function.
    pub fn paginate(self, options: &PaginationOptions) -> Result<PaginationResult<D>> {
        let page = paginate::paginate(self.frame, &self.plan?, options)?;
        let documents = page.page.into_iter().map(|row| D::from_document(row.document));
        Ok(PaginationResult {
            page: documents.collect::<Result<_>>()?,
            is_done: page.is_done,
            continue_cursor: page.continue_cursor,
            split_cursor: page.split_cursor,
            page_status: page.page_status,
        })
    }

    /// How many documents the table has; of the whole table only. Depends on all of it.
    pub fn count(self) -> Result<u64> {
        let plan = self.plan?;
        if plan.system || plan.index.is_some() || !plan.operators.is_empty() {
            return Err(crate::error("count() needs a query of a whole table"));
        }
        crate::plan::refuse_system_table(&plan.table)?;
        Ok(self.frame.call.with(|tx| tx.count(&plan.table))?)
    }

    fn operator(mut self, operator: Operator) -> Self {
        if let Ok(plan) = &mut self.plan {
            plan.operators.push(operator);
        }
        self
    }

    fn rows(self) -> Result<RawRows<'a>> {
        let plan = self.plan?;
        let stream = self.frame.call.with(|tx| {
            let source = plan.source(tx)?;
            Ok::<_, Error>(Stream::open(tx, &plan, source))
        })?;
        Ok(RawRows { frame: self.frame, stream })
    }
}

struct RawRows<'a> {
    frame: &'a Frame<'a>,
    stream: Stream,
}

impl RawRows<'_> {
    fn next(&mut self) -> Result<Option<Row>> {
        self.frame.call.with(|tx| self.stream.next(tx))
    }
}

/// Documents of a query, read as they are asked for. Ends after the first error.
pub struct Rows<'a, D> {
    rows: RawRows<'a>,
    documents: PhantomData<fn() -> D>,
}

impl<D: FromDocument> Iterator for Rows<'_, D> {
    type Item = Result<D>;

    fn next(&mut self) -> Option<Result<D>> {
        let row = self.rows.next().transpose()?;
        Some(row.and_then(|row| D::from_document(row.document)))
    }
}

/// Bounds of an index range. `None` of an `Option` is the missing value.
pub struct Range {
    bounds: Result<Vec<RangeBound>>,
}

impl Range {
    /// The field equals the value.
    #[must_use]
    pub fn eq<V: Shape + Serialize>(self, field: &str, value: V) -> Range {
        self.bound(RangeOp::Eq, field, value)
    }

    /// The field is greater.
    #[must_use]
    pub fn gt<V: Shape + Serialize>(self, field: &str, value: V) -> Range {
        self.bound(RangeOp::Gt, field, value)
    }

    /// The field is greater or equal.
    #[must_use]
    pub fn gte<V: Shape + Serialize>(self, field: &str, value: V) -> Range {
        self.bound(RangeOp::Gte, field, value)
    }

    /// The field is less.
    #[must_use]
    pub fn lt<V: Shape + Serialize>(self, field: &str, value: V) -> Range {
        self.bound(RangeOp::Lt, field, value)
    }

    /// The field is less or equal.
    #[must_use]
    pub fn lte<V: Shape + Serialize>(self, field: &str, value: V) -> Range {
        self.bound(RangeOp::Lte, field, value)
    }

    fn bound<V: Shape + Serialize>(mut self, op: RangeOp, field: &str, value: V) -> Range {
        if let Ok(bounds) = &mut self.bounds {
            let path = FieldPath::new(field)
                .map_err(|error| Error::coded("InvalidIndexField", error.to_string()));
            match path.and_then(|path| Ok(RangeBound::new(op, path, to_optional(&value)?))) {
                Ok(bound) => bounds.push(bound),
                Err(error) => self.bounds = Err(error),
            }
        }
        self
    }
}

/// A value to store or compare; None: absent.
pub(crate) fn to_optional<V: Shape + Serialize>(value: &V) -> Result<Option<Value>> {
    if value.is_absent() { Ok(None) } else { to_value(value).map(Some) }
}

/// A Rust value as a value. Errors: it has none, such as a number above the range of int64.
pub(crate) fn to_value<V: Serialize + ?Sized>(value: &V) -> Result<Value> {
    value::serde::to_value(value).map_err(|error| crate::error(error.to_string()))
}

/// Makes filter expressions: `q.lt(q.field("lastSeen"), since)`.
#[derive(Clone, Copy, Debug)]
pub struct Filter;

/// An operand of a filter: an expression, or a constant.
pub trait Operand {
    /// The expression.
    fn into_expr(self) -> Expr;
}

impl Operand for Expr {
    fn into_expr(self) -> Expr {
        self
    }
}

/// Constants that can stand in a filter as they are.
macro_rules! operands {
    ($($type:ty),+) => { $(
        impl Operand for $type {
            fn into_expr(self) -> Expr {
                Expr::Literal(Some(Value::from(self)))
            }
        }
    )+ };
}

operands!(Value, f64, i64, bool, &str, String, &String);

impl Operand for i32 {
    fn into_expr(self) -> Expr {
        Expr::Literal(Some(Value::from(f64::from(self))))
    }
}

impl<T> Operand for &crate::Id<T> {
    fn into_expr(self) -> Expr {
        Expr::Literal(Some(Value::from(self)))
    }
}

/// `None` is the missing value.
impl<O: Operand> Operand for Option<O> {
    fn into_expr(self) -> Expr {
        self.map_or(Expr::Literal(None), O::into_expr)
    }
}

/// Comparisons and arithmetic of two operands.
macro_rules! binary {
    ($($name:ident: $variant:ident $op:path, $doc:literal;)+) => { $(
        #[doc = $doc]
        pub fn $name(self, left: impl Operand, right: impl Operand) -> Expr {
            Expr::$variant($op, Box::new(left.into_expr()), Box::new(right.into_expr()))
        }
    )+ };
}

impl Filter {
    /// The value at a dotted path of the document; missing where there is none.
    pub fn field(self, path: &str) -> Expr {
        Expr::Field(path.to_string())
    }

    /// A constant, such as a variant of an enum.
    pub fn value<V: Shape + Serialize>(self, value: &V) -> Expr {
        // What has no value equals nothing that is stored.
        Expr::Literal(to_optional(value).unwrap_or(None))
    }

    binary! {
        eq: Compare Comparison::Eq, "Equal: same type, same value.";
        neq: Compare Comparison::Neq, "Not equal.";
        lt: Compare Comparison::Lt, "Less, in the total order.";
        lte: Compare Comparison::Lte, "Less or equal.";
        gt: Compare Comparison::Gt, "Greater.";
        gte: Compare Comparison::Gte, "Greater or equal.";
        add: Compute Arithmetic::Add, "Sum.";
        sub: Compute Arithmetic::Sub, "Difference.";
        mul: Compute Arithmetic::Mul, "Product.";
        div: Compute Arithmetic::Div, "Quotient.";
        rem: Compute Arithmetic::Mod, "Remainder.";
    }

    /// The negative of a number.
    pub fn neg(self, operand: impl Operand) -> Expr {
        Expr::Neg(Box::new(operand.into_expr()))
    }

    /// True unless an operand is false.
    pub fn and(self, operands: impl IntoIterator<Item = Expr>) -> Expr {
        Expr::And(operands.into_iter().collect())
    }

    /// False unless an operand is true.
    pub fn or(self, operands: impl IntoIterator<Item = Expr>) -> Expr {
        Expr::Or(operands.into_iter().collect())
    }

    /// The other boolean.
    pub fn not(self, operand: impl Operand) -> Expr {
        Expr::Not(Box::new(operand.into_expr()))
    }
}
