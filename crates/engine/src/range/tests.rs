//! Tests of index ranges.
