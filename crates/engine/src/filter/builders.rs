//! Filters written in Rust: `Expr::field("age").gt(Expr::literal(17.0))`.
//!
//! Comparisons are methods; arithmetic and negation have the operators of the language.

use std::ops::{Add, Div, Mul, Neg, Not, Rem, Sub};

use value::Value;

use super::{Arithmetic, Comparison, Expr};

impl Expr {
    /// The value at a dotted path such as `"author.name"`.
    pub fn field(path: &str) -> Self {
        Self::Field(path.trim_matches('.').to_owned())
    }

    /// A constant.
    pub fn literal(value: impl Into<Value>) -> Self {
        Self::Literal(Some(value.into()))
    }

    /// The missing value: `Expr::field("a").neq(Expr::missing())` passes documents that have `a`.
    pub fn missing() -> Self {
        Self::Literal(None)
    }

    /// `self == other`
    pub fn eq(self, other: Self) -> Self {
        Self::Compare(Comparison::Eq, Box::new(self), Box::new(other))
    }

    /// `self != other`
    pub fn neq(self, other: Self) -> Self {
        Self::Compare(Comparison::Neq, Box::new(self), Box::new(other))
    }

    /// `self < other`
    pub fn lt(self, other: Self) -> Self {
        Self::Compare(Comparison::Lt, Box::new(self), Box::new(other))
    }

    /// `self <= other`
    pub fn lte(self, other: Self) -> Self {
        Self::Compare(Comparison::Lte, Box::new(self), Box::new(other))
    }

    /// `self > other`
    pub fn gt(self, other: Self) -> Self {
        Self::Compare(Comparison::Gt, Box::new(self), Box::new(other))
    }

    /// `self >= other`
    pub fn gte(self, other: Self) -> Self {
        Self::Compare(Comparison::Gte, Box::new(self), Box::new(other))
    }

    /// True unless an operand is false.
    pub fn and(operands: impl IntoIterator<Item = Self>) -> Self {
        Self::And(operands.into_iter().collect())
    }

    /// False unless an operand is true.
    pub fn or(operands: impl IntoIterator<Item = Self>) -> Self {
        Self::Or(operands.into_iter().collect())
    }
}

impl Add for Expr {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::Compute(Arithmetic::Add, Box::new(self), Box::new(other))
    }
}

impl Sub for Expr {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::Compute(Arithmetic::Sub, Box::new(self), Box::new(other))
    }
}

impl Mul for Expr {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self::Compute(Arithmetic::Mul, Box::new(self), Box::new(other))
    }
}

impl Div for Expr {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        Self::Compute(Arithmetic::Div, Box::new(self), Box::new(other))
    }
}

impl Rem for Expr {
    type Output = Self;

    fn rem(self, other: Self) -> Self {
        Self::Compute(Arithmetic::Mod, Box::new(self), Box::new(other))
    }
}

impl Neg for Expr {
    type Output = Self;

    fn neg(self) -> Self {
        Self::Neg(Box::new(self))
    }
}

impl Not for Expr {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}
