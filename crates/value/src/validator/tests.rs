//! Checks of validators against the vectors, and of their texts.
