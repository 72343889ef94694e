//! Tests of the engine as a whole, one file per topic.

mod dice;
mod export;
mod faults;
mod indexing;
mod memory;
mod model;
mod model_runs;
mod reading;
mod schema_changes;
mod threads;
mod world;
mod writing;
