//! The JSON form of a query, as JavaScript functions send it: one form in, one canonical form out.
//!
//! Source: spec/data-model.md 13.1; vectors/query-json.json.

use engine::range::{RangeBound, RangeOp};
use engine::{Order, filter};
use serde_json::{Value as Json, json};
use value::{FieldPath, IndexName, TableName};

use super::{OPERATORS_MAX, Operator, QueryPlan};
use crate::error::{Error, Result};

impl QueryPlan {
    /// The query that `json` describes. A name that begins with `_` reads a system table.
    ///
    /// Errors: `InvalidQuery`, naming what does not fit; `TooManyOperators`; a search, which is not
    /// supported yet.
    pub fn from_json(json: &Json) -> Result<QueryPlan> {
        let source = field(json, "source")?;
        let mut plan = match text(source, "type")? {
            "FullTableScan" => QueryPlan::table(name(text(source, "tableName")?)?),
            "IndexRange" => index_range(source)?,
            "Search" => return Err(invalid("search indexes are not supported yet")),
            other => return Err(invalid(format!("unknown source {other:?}"))),
        };
        plan.system = plan.table.is_system();
        plan.order = match source.get("order") {
            None | Some(Json::Null) => Order::Asc,
            Some(Json::String(order)) if order == "asc" => Order::Asc,
            Some(Json::String(order)) if order == "desc" => Order::Desc,
            Some(other) => return Err(invalid(format!("unknown order {other}"))),
        };
        let operators = list(json, "operators")?;
        if operators.len() > OPERATORS_MAX {
            let text = format!("Query has too many operators: {}", operators.len());
            return Err(Error::coded("TooManyOperators", text));
        }
        plan.operators = operators.iter().map(operator).collect::<Result<_>>()?;
        Ok(plan)
    }

    /// The canonical JSON: equal for equal queries.
    pub(crate) fn to_json(&self) -> Json {
        let range: Vec<Json> = self.bounds.iter().map(bound_json).collect();
        let order = match self.order {
            Order::Asc => "asc",
            Order::Desc => "desc",
        };
        let source = match &self.index {
            None => {
                json!({"type": "FullTableScan", "tableName": self.table.as_str(), "order": order})
            }
            Some(index) => json!({
                "type": "IndexRange",
                "indexName": format!("{}.{index}", self.table),
                "range": range,
                "order": order,
            }),
        };
        let operators: Vec<Json> = self
            .operators
            .iter()
            .map(|operator| match operator {
                Operator::Filter(expression) => json!({"filter": expression.to_json()}),
                Operator::Limit(limit) => json!({"limit": limit}),
            })
            .collect();
        json!({"source": source, "operators": operators})
    }
}

fn index_range(source: &Json) -> Result<QueryPlan> {
    let full = text(source, "indexName")?;
    let (table, index) = full
        .split_once('.')
        .ok_or_else(|| invalid(format!("index name {full:?} does not name its table")))?;
    let index = IndexName::new(index).map_err(|error| invalid(error.to_string()))?;
    let bounds = list(source, "range")?.iter().map(bound).collect::<Result<_>>()?;
    Ok(QueryPlan { index: Some(index), bounds, ..QueryPlan::table(name(table)?) })
}

fn bound(json: &Json) -> Result<RangeBound> {
    let op = match text(json, "type")? {
        "Eq" => RangeOp::Eq,
        "Gt" => RangeOp::Gt,
        "Gte" => RangeOp::Gte,
        "Lt" => RangeOp::Lt,
        "Lte" => RangeOp::Lte,
        other => return Err(invalid(format!("unknown bound {other:?}"))),
    };
    let path = FieldPath::new(text(json, "fieldPath")?);
    let path = path.map_err(|error| invalid(error.to_string()))?;
    let value = value::json::from_json_undefined(field(json, "value")?.clone());
    Ok(RangeBound::new(op, path, value.map_err(|error| invalid(error.message))?))
}

fn operator(json: &Json) -> Result<Operator> {
    if let Some(limit) = json.get("limit") {
        let limit = limit.as_u64().and_then(|limit| usize::try_from(limit).ok());
        return limit.map(Operator::Limit).ok_or_else(|| invalid("a limit is a whole number"));
    }
    let expression = filter::Expr::from_json(field(json, "filter")?);
    expression.map(Operator::Filter).map_err(|error| invalid(error.message))
}

fn name(text: &str) -> Result<TableName> {
    TableName::new(text).map_err(|error| invalid(error.to_string()))
}

fn field<'a>(json: &'a Json, name: &str) -> Result<&'a Json> {
    json.get(name).ok_or_else(|| invalid(format!("no {name:?}")))
}

fn text<'a>(json: &'a Json, name: &str) -> Result<&'a str> {
    field(json, name)?.as_str().ok_or_else(|| invalid(format!("{name:?} is no string")))
}

fn list<'a>(json: &'a Json, name: &str) -> Result<&'a Vec<Json>> {
    field(json, name)?.as_array().ok_or_else(|| invalid(format!("{name:?} is no list")))
}

fn invalid(what: impl Into<String>) -> Error {
    Error::coded("InvalidQuery", format!("Invalid query: {}", what.into()))
}

fn bound_json(bound: &RangeBound) -> Json {
    let kind = match bound.op {
        RangeOp::Eq => "Eq",
        RangeOp::Gt => "Gt",
        RangeOp::Gte => "Gte",
        RangeOp::Lt => "Lt",
        RangeOp::Lte => "Lte",
    };
    let value = match &bound.value {
        Some(value) => value::json::to_json(value),
        None => json!({"$undefined": null}),
    };
    json!({"type": kind, "fieldPath": bound.field.as_str(), "value": value})
}

#[cfg(test)]
mod tests;
