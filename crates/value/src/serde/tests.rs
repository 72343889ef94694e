//! Rust types to values and back, a line per case.
