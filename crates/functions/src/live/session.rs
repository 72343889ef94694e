//! One session's view of the live queries: which it shows, and the timestamp they have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use value::{Timestamp, Value};

use super::entry::{EntryId, LiveResult};
use super::start_all;
use crate::error::Error;
use crate::runtime::{Caller, Runtime};

/// The number of a session inside this process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

/// Called when a poll may give more than the last one did. Must not block, nor poll.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What a session wants to see.
#[derive(Clone, Debug, PartialEq)]
pub struct QuerySpec {
    /// The function, in its canonical form.
    pub path: Arc<str>,
    /// Its arguments.
    pub args: Vec<Value>,
    /// What an earlier run gave out, if the client still has it.
    pub journal: Option<Arc<str>>,
}

/// All queries of a session at one timestamp.
#[derive(Debug)]
pub struct Covered {
    /// The timestamp.
    pub ts: Timestamp,
    /// The result of each query.
    pub results: Vec<(u32, Arc<LiveResult>)>,
}

/// A session that shows live queries. Dropping it unsubscribes from all of them.
pub struct LiveSession {
    runtime: Arc<Runtime>,
    id: SessionId,
}

pub(crate) struct SessionState {
    pub(crate) caller: Caller,
    pub(crate) queries: BTreeMap<u32, super::state::Subscription>,
    pub(crate) waker: Waker,
    /// It asked and got nothing, or not the newest: wake it also when nothing changed.
    pub(crate) waiting: bool,
    /// An entry without which it cannot be given anything: until that one has a result, others need not
    /// wake it. Else a session would look at all its queries whenever one of them has run.
    pub(crate) blocked_by: Option<EntryId>,
    /// It is given nothing older: the last timestamp it was given, and what was durable when it last
    /// subscribed.
    pub(crate) floor: Timestamp,
    /// The timestamp at which it has its queries run, since they had none in common.
    pub(crate) target: Option<Timestamp>,
}

impl LiveSession {
    /// A session that shows nothing yet. `waker` is called when a poll may give more.
    pub fn new(runtime: &Arc<Runtime>, waker: Waker) -> Self {
        let id = runtime.live().state.lock().open_session(waker);
        Self { runtime: Arc::clone(runtime), id }
    }

    /// Its number in this process, as those see it who watch.
    pub fn number(&self) -> u64 {
        self.id.0
    }

    /// Who looks. Queries that depend on it are run again, others are not.
    pub fn set_caller(&mut self, caller: Caller) {
        self.runtime.live().state.lock().set_caller(self.id, caller);
    }

    /// Shows a query under a number of the client's; one that it has is replaced. From here on the
    /// session is shown nothing older than what is durable now.
    pub fn subscribe(&mut self, query: u32, spec: QuerySpec) {
        // Answers leave before live queries hear of their commits, and who was answered may ask.
        let durable = self.runtime.engine().durable();
        self.runtime.live().state.lock().subscribe(self.id, query, spec, durable);
    }

    /// Shows a query no more.
    pub fn unsubscribe(&mut self, query: u32) {
        self.runtime.live().state.lock().unsubscribe(self.id, query);
    }

    /// All queries at the greatest timestamp that they have in common, at or above `at_least`.
    ///
    /// `None`: there is none yet; runs are under way, and the waker will be called. Timestamps never step
    /// back. Errors: the system fails again and again to run one of the queries.
    pub fn poll(&mut self, at_least: Timestamp) -> Result<Option<Covered>, Error> {
        let (polled, runs) = self.runtime.live().state.lock().poll(self.id, at_least);
        start_all(&self.runtime, runs);
        polled
    }
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        self.runtime.live().state.lock().close_session(self.id);
    }
}
