//! Crons: when they run next, and what the newest runs gave.

use std::sync::Arc;

use engine::range::{RangeBound, RangeOp};
use engine::{Order, Transaction, system};
use value::{FieldPath, Object, Timestamp, Value};

use crate::crons::{next_of, read_spec};
use crate::error::Result;
use crate::runtime::Runtime;
use crate::system_rows;

/// Most crons of one list.
pub const CRONS_LISTED_MAX: usize = 1000;

/// A cron.
#[derive(Clone, Debug, PartialEq)]
pub struct CronView {
    /// Its name.
    pub name: String,
    /// When it runs, in the form of its definition.
    pub schedule: Object,
    /// What it runs.
    pub function: String,
    /// With which arguments.
    pub args: Object,
    /// When it runs next; none: never again.
    pub next: Option<Timestamp>,
    /// When the last run was due.
    pub previous: Option<Timestamp>,
    /// Whether it is running, as far as the database knows: actions say so, mutations are one transaction.
    pub running: bool,
    /// The newest runs, newest first.
    pub runs: Vec<CronRun>,
}

/// One run of a cron.
#[derive(Clone, Debug, PartialEq)]
pub struct CronRun {
    /// When it was due.
    pub due: Timestamp,
    /// `success`, `failure`, or `skipped` for runs that were left out.
    pub outcome: &'static str,
    /// The result as JSON text, the text of the error, or how many were left out; cut.
    pub detail: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What it logged, cut.
    pub log_lines: Vec<String>,
}

impl Runtime {
    /// All crons by name, at most [`CRONS_LISTED_MAX`].
    pub async fn crons(self: &Arc<Self>) -> Result<Vec<CronView>> {
        self.read(None, |_, tx| {
            let limit = Some(CRONS_LISTED_MAX);
            let table = &system::CRON_JOBS;
            let rows = system_rows::scan(tx, table, "by_name", &[], Order::Asc, limit)?;
            let mut crons = Vec::new();
            for row in rows {
                let Some(spec) = read_spec(row.body()) else { continue };
                let next = next_of(tx, row.id())?.map(|(_, next)| next);
                crons.push(CronView {
                    schedule: spec.schedule.to_object(),
                    function: spec.path.to_string(),
                    args: spec.args,
                    next: next.map(|next| next.next),
                    previous: next.and_then(|next| next.previous),
                    running: next.is_some_and(|next| next.in_progress),
                    runs: runs(tx, &spec.identifier)?,
                    name: spec.identifier,
                });
            }
            Ok(crons)
        })
        .await
    }
}

fn runs(tx: &mut Transaction, identifier: &str) -> Result<Vec<CronRun>> {
    let name = FieldPath::new("name").expect("names in the code are well formed");
    let bounds = [RangeBound::new(RangeOp::Eq, name, Some(identifier.into()))];
    let table = &system::CRON_JOB_LOGS;
    let limit = Some(crate::crons::CRON_LOGS_MAX);
    let rows = system_rows::scan(tx, table, "by_name_and_ts", &bounds, Order::Desc, limit)?;
    Ok(rows.iter().filter_map(|row| run(row.body())).collect())
}

/// None: a row that this program did not write.
fn run(row: &Object) -> Option<CronRun> {
    let status = row.get("status")?.as_object()?;
    let text = |name: &str| status.get(name).and_then(Value::as_str).map(str::to_owned);
    let (outcome, detail) = match status.get("type")?.as_str()? {
        "success" => ("success", text("result")?),
        "err" => ("failure", text("error")?),
        "canceled" => ("skipped", status.get("num_canceled")?.as_i64()?.to_string()),
        _ => return None,
    };
    let lines = row.get("logLines")?.as_object()?.get("logLines")?.as_array()?;
    let due = u64::try_from(row.get("ts")?.as_i64()?).ok()?;
    Some(CronRun {
        due: Timestamp(due),
        outcome,
        detail,
        seconds: row.get("executionTime")?.as_f64()?,
        log_lines: lines.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}
