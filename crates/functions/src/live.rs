//! Live queries: each is run once per change, however many sessions show it.
//!
//!     commit ──► publish: which entries read what it wrote? ──► stale ──► one run ──► wake sessions
//!                                                                          │
//!     session ──► poll: the greatest timestamp that all its entries cover ─┘
//!
//! An entry is one (function, arguments, identity class, journal). It holds its newest results with
//! their validity `[from, to)`, and the read set of the newest. An entry that never read the identity is
//! shared by everybody; when a run asks for it, that run is abandoned and everybody gets an entry of
//! their own.
//! Invariant: a result of an entry equals a run from scratch at every timestamp of its validity.

mod entry;
mod history;
mod session;
mod state;
mod view;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use engine::LogEntry;
use parking_lot::Mutex;
use value::Timestamp;

pub use entry::{LiveOutcome, LiveResult};
pub use history::{Cause, LiveRun, RUNS_KEPT};
pub use session::{Covered, LiveSession, QuerySpec, Waker};
pub use view::{LiveEntryView, LiveSessionView, LiveStats};

use crate::call::End;
use crate::door::{Origin, Parent};
use crate::error::Error;
use crate::identity::IdentityAccess;
use crate::options::RuntimeOptions;
use crate::recent::Execution;
use crate::registry::FunctionKind;
use crate::runtime::Runtime;
use entry::{Ran, Run};
use state::State;

/// Entries that nobody shows but that are kept, since somebody may come back. As the next one, unless
/// an operator says otherwise.
pub const IDLE_ENTRIES_MAX: usize = 10_000;
/// Bytes of results of such entries.
pub const IDLE_BYTES_MAX: usize = 32 << 20;
/// Results kept of one entry, so that sessions at slightly older timestamps need no run.
pub const RESULTS_KEPT: usize = 4;
/// Failures of the system in a row after which those who wait are told.
pub const RUN_FAILURES_MAX: u32 = 5;

/// All live queries of one runtime.
pub struct Live {
    state: Mutex<State>,
}

impl Live {
    pub(crate) fn new(head: Timestamp, options: &RuntimeOptions) -> Self {
        Self { state: Mutex::new(State::new(head, options)) }
    }

    /// The timestamp up to which commits have been taken into account.
    pub fn head(&self) -> Timestamp {
        self.state.lock().head()
    }

    /// Figures for people who watch.
    pub fn stats(&self) -> LiveStats {
        self.state.lock().stats()
    }

    /// Every entry, for people who watch.
    pub fn entries(&self) -> Vec<LiveEntryView> {
        self.state.lock().views()
    }

    /// The first `limit` entries above number `after`, of one function if it is named.
    pub fn page(&self, after: u64, limit: usize, path: Option<&str>) -> Vec<LiveEntryView> {
        self.state.lock().view_page(after, limit, path)
    }

    /// One entry; none when it is gone.
    pub fn entry(&self, number: u64) -> Option<LiveEntryView> {
        self.state.lock().view_of(number)
    }

    /// The first `limit` sessions above number `after`.
    pub fn sessions(&self, after: u64, limit: usize) -> Vec<LiveSessionView> {
        self.state.lock().session_page(after, limit)
    }

    /// Takes commits into account, and has what they made stale run again.
    pub(crate) fn publish(
        &self,
        runtime: &Arc<Runtime>,
        commits: &[Arc<LogEntry>],
        head: Timestamp,
    ) {
        let (runs, wakers) = self.state.lock().publish(commits, head);
        start_all(runtime, runs);
        wakers.into_iter().for_each(|waker| waker());
    }
}

/// Has workers carry out runs.
fn start_all(runtime: &Arc<Runtime>, runs: Vec<Run>) {
    for run in runs {
        runtime.spawn(Box::new(move |runtime| carry_out(runtime, run)));
    }
}

/// Runs a live query at one timestamp, and installs what it gave.
fn carry_out(runtime: &Arc<Runtime>, run: Run) {
    let began = runtime.now();
    let ran = catch_unwind(AssertUnwindSafe(|| run_at(runtime, &run)));
    let ran = ran.unwrap_or_else(|_| {
        Err(Error::system("InternalServerError", "the run of a live query panicked"))
    });
    let ended = match ran {
        Ok(end) => end,
        Err(error) => return retry_or_fail(runtime, &run, &error),
    };
    if let Err(error) = &ended.result
        && !error.is_deterministic()
        && !ended.identity_withheld
    {
        let error = error.clone();
        return retry_or_fail(runtime, &run, &error);
    }
    let live = runtime.live();
    let (runs, wakers) = if ended.identity_withheld {
        live.state.lock().split(&run)
    } else {
        let ran = Ran {
            result: LiveResult::of(&ended),
            reads: Arc::new(ended.transaction.reads().clone()),
            read_identity: ended.observed.identity,
            began,
            elapsed: Duration::from_nanos(runtime.now().0.saturating_sub(began.0)),
        };
        note(runtime, &run, &ended, &ran);
        let mut state = live.state.lock();
        let head = state.head();
        let later = runtime.engine().log_between(run.at, head);
        state.install(&run, ran, later.as_deref())
    };
    // The transaction pins its snapshot: let go before others are started.
    drop(ended);
    start_all(runtime, runs);
    wakers.into_iter().for_each(|waker| waker());
}

fn run_at(runtime: &Arc<Runtime>, run: &Run) -> Result<End, Error> {
    let tx = runtime.engine().begin_at(run.at)?;
    let parent = Parent { origin: Origin::Live, ..Parent::default() };
    let mut start = runtime.start(run.access.clone(), &parent);
    start.journal = run.journal.as_deref().map(str::to_owned);
    let found = start.registry.find(&run.spec.path, run.admin).and_then(|function| {
        function.expect_kind(FunctionKind::Query).map(|()| Arc::clone(function))
    });
    Ok(match found {
        Ok(function) => {
            if let (Some(_), Some(figures)) = (&run.cause, start.registry.figures(&function.path)) {
                figures.reran_live();
            }
            runtime.run_body(&function, run.spec.args.clone(), start, tx)
        }
        Err(error) => End {
            result: Err(error),
            transaction: tx,
            log_lines: Vec::new(),
            observed: crate::call::Observed::default(),
            identity_withheld: false,
            journal: None,
        },
    })
}

/// Tells those who watch executions.
fn note(runtime: &Arc<Runtime>, run: &Run, ended: &End, ran: &Ran) {
    let user = match &run.access {
        IdentityAccess::Known(user) => user.as_ref(),
        IdentityAccess::Withheld => None,
    };
    runtime.recent().note(Execution {
        user: user.map(|user| Arc::from(user.subject.as_str())),
        ts: run.at,
        began: ran.began,
        elapsed: ran.elapsed,
        error: ended.result.as_ref().err().map(|error| error.message().to_owned()),
        log_lines: ended.log_lines.clone(),
        ..Execution::new(Arc::clone(&run.spec.path), FunctionKind::Query, Origin::Live)
    });
}

/// A failure of the system: the run is repeated at the head. After several in a row the sessions that
/// wait are told, and may come again.
fn retry_or_fail(runtime: &Arc<Runtime>, run: &Run, error: &Error) {
    tracing::warn!(%error, query = %run.spec.path, "a live query could not be run");
    if error.code() == Some("OutOfRetention") {
        // After a long rest the first commit takes the head with it; whoever ran at the old one must not
        // do so again before that commit is published.
        runtime.settle();
    }
    let (runs, wakers) = runtime.live().state.lock().run_failed(run, error);
    start_all(runtime, runs);
    wakers.into_iter().for_each(|waker| waker());
}

/// The identity class of an entry, as it runs.
fn access_of(identity: Option<&entry::IdentityClass>) -> IdentityAccess {
    match identity {
        Some(class) => IdentityAccess::Known(class.user.clone()),
        None => IdentityAccess::Withheld,
    }
}
