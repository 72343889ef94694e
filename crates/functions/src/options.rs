//! What an operator may set of a runtime. What one function may do is in `engine::Limits`.

use std::time::Duration;

use crate::due::{CRONS_PARALLEL, JOBS_PARALLEL};
use crate::jobs::FINISHED_JOBS_KEPT;
use crate::live::{IDLE_BYTES_MAX, IDLE_ENTRIES_MAX};
use crate::recent::RECENT_MAX;

/// What an operator may set. The default is what the constants say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Scheduled functions that run at once.
    pub jobs_parallel: usize,
    /// Crons that run at once.
    pub crons_parallel: usize,
    /// How long finished scheduled functions are kept.
    pub finished_jobs_kept: Duration,
    /// Results of live queries that nobody shows and that are kept.
    pub idle_entries_max: usize,
    /// Bytes of such results.
    pub idle_bytes_max: usize,
    /// Executions remembered, and as many again of those that have something to say.
    pub executions_kept: usize,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            jobs_parallel: JOBS_PARALLEL,
            crons_parallel: CRONS_PARALLEL,
            finished_jobs_kept: FINISHED_JOBS_KEPT,
            idle_entries_max: IDLE_ENTRIES_MAX,
            idle_bytes_max: IDLE_BYTES_MAX,
            executions_kept: RECENT_MAX,
        }
    }
}
