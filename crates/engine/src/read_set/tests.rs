//! Tests of the interval arithmetic of read sets.
