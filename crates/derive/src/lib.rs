//! The Shape derive: a validator from a Rust type.
