//! Filter expressions: what `.filter(q => …)` sends, and what it means for one document.
//!
//! ```text
//! {"$and": [{"$eq": [{"$field": "room"}, {"$literal": "r"}]}, {"$not": {"$field": "away"}}]}
//! ```
//!
//! An operand is a value or *missing*, which an absent field yields and which sorts before every
//! value. Comparisons never fail; arithmetic and logic do on a type that does not fit.
//! Rows that a filter drops were read all the same: that is the matter of the scan, not of this file.
//!
//! May use value. Source: spec/data-model.md, filters.

mod builders;

use std::borrow::Cow;

use serde_json::{Map, Value as Json};
use value::{Object, Value, json};

/// Deepest nesting of an expression, in operators. Ours: it keeps recursion off the stack's end.
pub const EXPR_NESTING_MAX: usize = 64;

/// An expression over one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// The value at a dotted path, or missing.
    Field(String),
    /// A constant; `None` is the missing value.
    Literal(Option<Value>),
    /// A comparison in the total order with missing as the least. Yields a boolean.
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// Arithmetic on two int64 or two float64.
    Compute(Arithmetic, Box<Expr>, Box<Expr>),
    /// The negative of an int64 or a float64.
    Neg(Box<Expr>),
    /// True unless an operand is false. Stops at the first that is.
    And(Vec<Expr>),
    /// False unless an operand is true. Stops at the first that is.
    Or(Vec<Expr>),
    /// The other boolean.
    Not(Box<Expr>),
}

/// How [`Expr::Compare`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// Equal: same type and same value, so `5` is not `5n` and `-0` is not `0`.
    Eq,
    /// Not equal.
    Neq,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
}

/// What [`Expr::Compute`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; of int64 truncated toward zero.
    Div,
    /// Remainder, with the sign of the dividend.
    Mod,
}

/// An expression that has no value for a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// What did not fit, naming the operator.
    pub message: String,
}

impl EvalError {
    /// The official short code.
    pub const CODE: &'static str = "EvalError";

    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// JSON that is no filter expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong, naming the operator.
    pub message: String,
}

impl ParseError {
    /// Our short code; the official one is not documented.
    pub const CODE: &'static str = "InvalidFilter";

    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl Expr {
    /// Does `document` pass?
    ///
    /// Errors: an operand of a type that does not fit, int64 overflow, int64 division by zero, and
    /// a result that is not a boolean.
    pub fn eval(&self, document: &Object) -> Result<bool, EvalError> {
        boolean(self.value(document, 1)?, "the filter")
    }

    /// Reads the JSON form. Errors: an unknown or misshapen operator, a literal that is no value,
    /// nesting above [`EXPR_NESTING_MAX`].
    pub fn from_json(json: &Json) -> Result<Self, ParseError> {
        Self::parse(json, 1)
    }

    /// The JSON form, the same for equal expressions: cursors fingerprint it.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Field(path) => operator("$field", Json::String(path.clone())),
            Self::Literal(Some(value)) => operator("$literal", json::to_json(value)),
            Self::Literal(None) => operator("$literal", operator("$undefined", Json::Null)),
            Self::Compare(op, left, right) => operator(op.name(), pair_json(left, right)),
            Self::Compute(op, left, right) => operator(op.name(), pair_json(left, right)),
            Self::Neg(operand) => operator("$neg", operand.to_json()),
            Self::And(operands) => operator("$and", list_json(operands)),
            Self::Or(operands) => operator("$or", list_json(operands)),
            Self::Not(operand) => operator("$not", operand.to_json()),
        }
    }

    fn parse(json: &Json, depth: usize) -> Result<Self, ParseError> {
        if depth > EXPR_NESTING_MAX {
            return Err(ParseError::new(format!(
                "a filter may nest {EXPR_NESTING_MAX} operators deep"
            )));
        }
        let operator = json.as_object().filter(|fields| fields.len() == 1);
        let Some((name, operand)) = operator.and_then(|fields| fields.iter().next()) else {
            return Err(ParseError::new(
                "a filter expression is an object with one operator, such as {\"$field\": \"name\"}",
            ));
        };
        if let Some(op) = Comparison::ALL.into_iter().find(|op| op.name() == name) {
            let (left, right) = parse_pair(name, operand, depth)?;
            return Ok(Self::Compare(op, left, right));
        }
        if let Some(op) = Arithmetic::ALL.into_iter().find(|op| op.name() == name) {
            let (left, right) = parse_pair(name, operand, depth)?;
            return Ok(Self::Compute(op, left, right));
        }
        match name.as_str() {
            "$field" => parse_field(operand),
            "$literal" => parse_literal(operand),
            "$neg" => Ok(Self::Neg(Box::new(Self::parse(operand, depth + 1)?))),
            "$not" => Ok(Self::Not(Box::new(Self::parse(operand, depth + 1)?))),
            "$and" => Ok(Self::And(parse_list(name, operand, depth)?)),
            "$or" => Ok(Self::Or(parse_list(name, operand, depth)?)),
            unknown => Err(ParseError::new(format!("unknown filter operator \"{unknown}\""))),
        }
    }

    /// The value for `document`, or missing.
    fn value<'a>(&'a self, document: &'a Object, depth: usize) -> Result<Operand<'a>, EvalError> {
        if depth > EXPR_NESTING_MAX {
            // Only an expression built in Rust comes here; `from_json` refuses it before.
            return Err(EvalError::new(format!(
                "a filter may nest {EXPR_NESTING_MAX} operators deep"
            )));
        }
        match self {
            Self::Field(path) => Ok(lookup(document, path).map(Cow::Borrowed)),
            Self::Literal(value) => Ok(value.as_ref().map(Cow::Borrowed)),
            Self::Compare(op, left, right) => {
                let left = left.value(document, depth + 1)?;
                let right = right.value(document, depth + 1)?;
                Ok(owned(Value::Boolean(op.holds(left.as_deref(), right.as_deref()))))
            }
            Self::Compute(op, left, right) => {
                let left = left.value(document, depth + 1)?;
                let right = right.value(document, depth + 1)?;
                op.compute(left.as_deref(), right.as_deref()).map(owned)
            }
            Self::Neg(operand) => {
                negative(operand.value(document, depth + 1)?.as_deref()).map(owned)
            }
            Self::And(operands) => junction("$and", operands, false, document, depth),
            Self::Or(operands) => junction("$or", operands, true, document, depth),
            Self::Not(operand) => {
                let operand = boolean(operand.value(document, depth + 1)?, "$not")?;
                Ok(owned(Value::Boolean(!operand)))
            }
        }
    }
}

impl Comparison {
    const ALL: [Self; 6] = [Self::Eq, Self::Neq, Self::Lt, Self::Lte, Self::Gt, Self::Gte];

    fn name(self) -> &'static str {
        match self {
            Self::Eq => "$eq",
            Self::Neq => "$neq",
            Self::Lt => "$lt",
            Self::Lte => "$lte",
            Self::Gt => "$gt",
            Self::Gte => "$gte",
        }
    }

    /// `None`, the missing value, is less than every value.
    fn holds(self, left: Option<&Value>, right: Option<&Value>) -> bool {
        match self {
            Self::Eq => left == right,
            Self::Neq => left != right,
            Self::Lt => left < right,
            Self::Lte => left <= right,
            Self::Gt => left > right,
            Self::Gte => left >= right,
        }
    }
}

impl Arithmetic {
    const ALL: [Self; 5] = [Self::Add, Self::Sub, Self::Mul, Self::Div, Self::Mod];

    fn name(self) -> &'static str {
        match self {
            Self::Add => "$add",
            Self::Sub => "$sub",
            Self::Mul => "$mul",
            Self::Div => "$div",
            Self::Mod => "$mod",
        }
    }

    fn compute(self, left: Option<&Value>, right: Option<&Value>) -> Result<Value, EvalError> {
        match (left, right) {
            (Some(Value::Int64(left)), Some(Value::Int64(right))) => {
                self.compute_int64(*left, *right).map(Value::Int64)
            }
            (Some(Value::Float64(left)), Some(Value::Float64(right))) => {
                Ok(Value::Float64(self.compute_float64(*left, *right)))
            }
            (left, right) => Err(EvalError::new(format!(
                "{} needs two int64 or two float64, found {} and {}",
                self.name(),
                type_name(left),
                type_name(right)
            ))),
        }
    }

    fn compute_int64(self, left: i64, right: i64) -> Result<i64, EvalError> {
        let result = match self {
            Self::Add => left.checked_add(right),
            Self::Sub => left.checked_sub(right),
            Self::Mul => left.checked_mul(right),
            Self::Div => left.checked_div(right),
            Self::Mod => left.checked_rem(right),
        };
        result.ok_or_else(|| {
            let what = if right == 0 { "division by zero" } else { "int64 overflow" };
            EvalError::new(format!("{what} in {} of {left} and {right}", self.name()))
        })
    }

    fn compute_float64(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Sub => left - right,
            Self::Mul => left * right,
            Self::Div => left / right,
            Self::Mod => left % right,
        }
    }
}

/// A value while an expression is evaluated; `None` is missing.
type Operand<'a> = Option<Cow<'a, Value>>;

fn owned(value: Value) -> Operand<'static> {
    Some(Cow::Owned(value))
}

/// `$and` and `$or`: stops at the first operand that is `decisive`.
fn junction(
    name: &str,
    operands: &[Expr],
    decisive: bool,
    document: &Object,
    depth: usize,
) -> Result<Operand<'static>, EvalError> {
    for operand in operands {
        if boolean(operand.value(document, depth + 1)?, name)? == decisive {
            return Ok(owned(Value::Boolean(decisive)));
        }
    }
    Ok(owned(Value::Boolean(!decisive)))
}

fn boolean(operand: Operand<'_>, who: &str) -> Result<bool, EvalError> {
    match operand.as_deref() {
        Some(Value::Boolean(value)) => Ok(*value),
        other => Err(EvalError::new(format!("{who} needs a boolean, found {}", type_name(other)))),
    }
}

fn negative(operand: Option<&Value>) -> Result<Value, EvalError> {
    match operand {
        Some(Value::Int64(value)) => value
            .checked_neg()
            .map(Value::Int64)
            .ok_or_else(|| EvalError::new(format!("int64 overflow in $neg of {value}"))),
        Some(Value::Float64(value)) => Ok(Value::Float64(-value)),
        other => Err(EvalError::new(format!(
            "$neg needs an int64 or a float64, found {}",
            type_name(other)
        ))),
    }
}

fn type_name(operand: Option<&Value>) -> &'static str {
    operand.map_or("a missing field", Value::type_name)
}

/// A path through something that is not an object, also through an array, leads to nothing.
fn lookup<'a>(document: &'a Object, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let mut found = document.get(names.next()?)?;
    for name in names {
        match found {
            Value::Object(fields) => found = fields.get(name)?,
            Value::Null
            | Value::Int64(_)
            | Value::Float64(_)
            | Value::Boolean(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::Array(_) => return None,
        }
    }
    Some(found)
}

fn operator(name: &str, operand: Json) -> Json {
    Json::Object(Map::from_iter([(name.to_owned(), operand)]))
}

fn pair_json(left: &Expr, right: &Expr) -> Json {
    Json::Array(vec![left.to_json(), right.to_json()])
}

fn list_json(operands: &[Expr]) -> Json {
    Json::Array(operands.iter().map(Expr::to_json).collect())
}

fn parse_pair(
    name: &str,
    operand: &Json,
    depth: usize,
) -> Result<(Box<Expr>, Box<Expr>), ParseError> {
    match operand.as_array().map(Vec::as_slice) {
        Some([left, right]) => {
            let left = Expr::parse(left, depth + 1)?;
            Ok((Box::new(left), Box::new(Expr::parse(right, depth + 1)?)))
        }
        _ => Err(ParseError::new(format!("{name} needs an array of two expressions"))),
    }
}

fn parse_list(name: &str, operand: &Json, depth: usize) -> Result<Vec<Expr>, ParseError> {
    let operands = operand
        .as_array()
        .ok_or_else(|| ParseError::new(format!("{name} needs an array of expressions")))?;
    operands.iter().map(|operand| Expr::parse(operand, depth + 1)).collect()
}

/// Path segments need not be identifiers here: a name that no document has is just missing.
fn parse_field(operand: &Json) -> Result<Expr, ParseError> {
    match operand.as_str().map(|path| path.trim_matches('.')) {
        Some(path) if !path.is_empty() => Ok(Expr::Field(path.to_owned())),
        _ => Err(ParseError::new("$field needs a path of names joined by dots")),
    }
}

fn parse_literal(operand: &Json) -> Result<Expr, ParseError> {
    json::from_json_undefined(operand.clone())
        .map(Expr::Literal)
        .map_err(|error| ParseError::new(format!("$literal: {}", error.message)))
}

#[cfg(test)]
mod tests;
