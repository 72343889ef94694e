//! When one validator accepts all that another accepts.

use super::{ObjectValidator, Validator};
use crate::value::Value;

impl Validator {
    /// Whether every value that matches this validator surely matches `other`.
    ///
    /// Decided by structure: `false` may be wrong, `true` never is.
    pub fn is_subset_of(&self, other: &Validator) -> bool {
        if self == other || matches!(other, Validator::Any) {
            return true;
        }
        if let Validator::Union(members) = self {
            return members.iter().all(|member| member.is_subset_of(other));
        }
        match (self, other) {
            (_, Validator::Union(members)) => {
                let has = |b| members.contains(&Validator::Literal(Value::Boolean(b)));
                members.iter().any(|member| self.is_subset_of(member))
                    || (*self == Validator::Boolean && has(true) && has(false))
            }
            (Validator::Literal(Value::String(_)) | Validator::Id(_), Validator::String)
            | (Validator::Literal(Value::Float64(_)), Validator::Number)
            | (Validator::Literal(Value::Boolean(_)), Validator::Boolean)
            | (Validator::Literal(Value::Int64(_)), Validator::Bigint | Validator::CommitTs)
            | (Validator::Bigint, Validator::CommitTs)
            | (Validator::CommitTs, Validator::Bigint) => true,
            (Validator::Array(a), Validator::Array(b)) => a.is_subset_of(b),
            (Validator::Object(a), Validator::Object(b)) => a.is_subset_of(b),
            (
                Validator::Record { keys: keys_a, values: values_a },
                Validator::Record { keys: keys_b, values: values_b },
            ) => keys_a.is_subset_of(keys_b) && values_a.is_subset_of(values_b),
            // Pairs not named above are not compared: `false` is always allowed.
            _ => false,
        }
    }
}

impl ObjectValidator {
    fn is_subset_of(&self, other: &ObjectValidator) -> bool {
        let fields_fit = self.fields.iter().all(|(name, a)| {
            other.fields.get(name).is_some_and(|b| {
                (b.optional || !a.optional) && a.validator.is_subset_of(&b.validator)
            })
        });
        let rest_optional =
            other.fields.iter().all(|(name, b)| b.optional || self.fields.contains_key(name));
        fields_fit && rest_optional
    }
}
