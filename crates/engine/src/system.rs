//! System tables: compiled in, so that nothing has to be read to read them.
//!
//! Their numbers are those of the official server (512 + n). A tablet is numbered n, its indexes
//! n * 8 + k; numbers of user tables and indexes start above all of them.
//! Source: spec/data-model.md, tables, numbers, system tables.

use store::{IndexId, TabletId};
use value::TableNumber;

/// First tablet of a user table.
pub const FIRST_USER_TABLET: u32 = 1000;
/// First index of a user table.
pub const FIRST_USER_INDEX: u32 = 10_000;
/// Smallest number of a user table.
pub const FIRST_USER_TABLE_NUMBER: u32 = 10_001;
/// Most user tables of one deployment.
pub const USER_TABLES_MAX: usize = 10_000;

/// A table that the system itself keeps.
#[derive(Debug)]
pub struct SystemTable {
    /// Its name, with the leading underscore.
    pub name: &'static str,
    /// The n of its number 512 + n.
    pub n: u32,
    /// Its indexes besides `by_id`: name, and fields without the `_id` that ends every key.
    pub indexes: &'static [(&'static str, &'static [&'static str])],
}

impl SystemTable {
    /// The number that ids of this table carry.
    pub fn number(&self) -> TableNumber {
        TableNumber(512 + self.n)
    }

    /// The tablet that holds its documents.
    pub fn tablet(&self) -> TabletId {
        TabletId(self.n)
    }

    /// The id of its index at `position`.
    pub fn index(&self, position: usize) -> IndexId {
        IndexId(self.n * 8 + u32::try_from(position).expect("a handful of indexes"))
    }
}

/// Tables by name, number and tablet.
pub static TABLES: SystemTable =
    SystemTable { name: "_tables", n: 1, indexes: &[("by_name", &["name"])] };
/// Indexes of user tables.
pub static INDEX: SystemTable =
    SystemTable { name: "_index", n: 2, indexes: &[("by_table", &["table_id", "descriptor"])] };
/// Counters: the next tablet and index.
pub static GLOBALS: SystemTable = SystemTable { name: "_db", n: 8, indexes: &[] };
/// What mutations of sync sessions answered, for resent ones.
pub static SESSION_REQUESTS: SystemTable =
    SystemTable { name: "_session_requests", n: 17, indexes: &[] };
/// Crons as they are declared.
pub static CRON_JOBS: SystemTable =
    SystemTable { name: "_cron_jobs", n: 19, indexes: &[("by_name", &["name"])] };
/// Schemas: pending, validated, active.
pub static SCHEMAS: SystemTable = SystemTable { name: "_schemas", n: 20, indexes: &[] };
/// The newest runs of each cron.
pub static CRON_JOB_LOGS: SystemTable =
    SystemTable { name: "_cron_job_logs", n: 21, indexes: &[("by_name_and_ts", &["name", "ts"])] };
/// Scheduled functions; users see them as `_scheduled_functions`.
pub static SCHEDULED_JOBS: SystemTable = SystemTable {
    name: "_scheduled_jobs",
    n: 27,
    indexes: &[
        ("by_creation_time", &["_creationTime"]),
        ("by_next_ts", &["nextTs"]),
        ("by_completed_ts", &["completedTs"]),
    ],
};
/// Files; users see them as `_storage`.
pub static FILE_STORAGE: SystemTable = SystemTable {
    name: "_file_storage",
    n: 28,
    indexes: &[("by_creation_time", &["_creationTime"])],
};
/// When each cron runs next.
pub static CRON_NEXT_RUN: SystemTable = SystemTable {
    name: "_cron_next_run",
    n: 35,
    indexes: &[("by_cron_job_id", &["cronJobId"]), ("by_next_ts", &["nextTs"])],
};

/// Every system table.
pub static ALL: &[&SystemTable] = &[
    &TABLES,
    &INDEX,
    &GLOBALS,
    &SESSION_REQUESTS,
    &CRON_JOBS,
    &SCHEMAS,
    &CRON_JOB_LOGS,
    &SCHEDULED_JOBS,
    &FILE_STORAGE,
    &CRON_NEXT_RUN,
];

/// Public names of virtual tables, with the system table that backs each.
pub static VIRTUAL: &[(&str, &SystemTable)] =
    &[("_scheduled_functions", &SCHEDULED_JOBS), ("_storage", &FILE_STORAGE)];
