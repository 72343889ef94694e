//! Functions on a real engine with the store in memory.

mod calls;
mod cron_runs;
mod database;
mod job_runs;
mod pages;
mod watching;
mod world;
