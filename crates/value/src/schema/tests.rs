//! Checks of schemas against the vectors, and one table a rule.
