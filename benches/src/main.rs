//! The workloads of docs/benchmarks.md, one command each.

fn main() {}
