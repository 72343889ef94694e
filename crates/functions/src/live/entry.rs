//! One live query: its key, its results, and who shows it.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::read_set::ReadSet;
use value::{Timestamp, Value, json};

use super::history::{Cause, LiveRun, RUNS_KEPT};
use super::session::{QuerySpec, SessionId};
use crate::call::End;
use crate::error::Error;
use crate::identity::{IdentityAccess, UserIdentity};
use crate::log::LogLine;

/// The number of an entry; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId(pub(crate) u64);

/// Everybody for whom a query gives the same: equal claims.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IdentityClass {
    pub(crate) user: Option<Arc<UserIdentity>>,
}

impl IdentityClass {
    pub(crate) fn key(&self) -> Option<Arc<str>> {
        self.user.as_ref().map(|user| Arc::clone(&user.cache_key))
    }
}

/// What one run of a live query gave.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveOutcome {
    /// The value, as canonical JSON.
    Value(Arc<str>),
    /// The function failed.
    Failed(Error),
}

/// A result that any number of sessions share.
#[derive(Debug)]
pub struct LiveResult {
    /// The value or the failure.
    pub outcome: LiveOutcome,
    /// What the function logged.
    pub log_lines: Vec<LogLine>,
    /// What the query must be given when it runs again.
    pub journal: Option<Arc<str>>,
    shared: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl LiveResult {
    pub(crate) fn of(end: &End) -> Self {
        let outcome = match &end.result {
            Ok(value) => LiveOutcome::Value(Arc::from(to_json(value))),
            Err(error) => LiveOutcome::Failed(error.clone()),
        };
        Self {
            outcome,
            log_lines: end.log_lines.clone(),
            journal: end.journal.as_deref().map(Arc::from),
            shared: OnceLock::new(),
        }
    }

    /// What `make` made of this result the first time; one encoding for all who show it.
    ///
    /// Whoever calls it always asks for the same type; another one gets its own.
    pub fn shared<T: Any + Send + Sync>(&self, make: impl FnOnce(&Self) -> T) -> Arc<T> {
        let mut make = Some(make);
        let made = self.shared.get_or_init(|| {
            let make = make.take().expect("called once");
            Arc::new(make(self))
        });
        match Arc::clone(made).downcast::<T>() {
            Ok(made) => made,
            Err(_) => Arc::new((make.take().expect("another type was made first"))(self)),
        }
    }

    /// Whether a client would see the same. A journal is sealed anew by each run, and says the same when
    /// the same page came of it.
    fn shows_the_same(&self, other: &Self) -> bool {
        let texts = |result: &Self| -> Vec<String> {
            result.log_lines.iter().map(LogLine::to_text).collect()
        };
        self.outcome == other.outcome
            && self.journal.is_some() == other.journal.is_some()
            && texts(self) == texts(other)
    }
}

fn to_json(value: &Value) -> String {
    json::to_string(value)
}

/// A result with its validity: from `from` up to, not including, `to`.
pub(crate) struct Valid {
    pub(crate) from: Timestamp,
    pub(crate) to: Option<Timestamp>,
    pub(crate) result: Arc<LiveResult>,
}

impl Valid {
    /// The last timestamp up to `head` at which it holds.
    pub(crate) fn last(&self, head: Timestamp) -> Timestamp {
        self.to.map_or(head, Timestamp::pred).min(head)
    }

    pub(crate) fn covers(&self, ts: Timestamp) -> bool {
        self.from <= ts && self.to.is_none_or(|to| ts < to)
    }
}

/// What distinguishes an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) path: Arc<str>,
    pub(crate) args: Arc<str>,
    pub(crate) journal: Option<Arc<str>>,
    /// Internal functions exist for administrators.
    pub(crate) admin: bool,
    pub(crate) identity: IdentityKey,
}

/// Whose results these are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum IdentityKey {
    /// Everybody's: the function never asks.
    Shared,
    /// Those with these claims; `None` is nobody signed in.
    Of(Option<Arc<str>>),
}

pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) spec: Arc<QuerySpec>,
    pub(crate) identity: Option<IdentityClass>,
    /// What the next run is given.
    pub(crate) journal: Option<Arc<str>>,
    pub(crate) results: VecDeque<Valid>,
    pub(crate) running: BTreeSet<Timestamp>,
    /// Who shows it, and with how many queries.
    pub(crate) sessions: BTreeMap<SessionId, usize>,
    pub(crate) runs: u64,
    pub(crate) failures: u32,
    /// The newest runs, oldest first.
    pub(crate) history: VecDeque<LiveRun>,
    /// The commit that made it stale, until a run begins for it.
    pub(crate) stale_by: Option<Cause>,
    /// The system failed so often in a row that whoever waits is told.
    pub(crate) broken: Option<Error>,
}

/// One run that is to be carried out.
pub(crate) struct Run {
    pub(crate) entry: EntryId,
    pub(crate) at: Timestamp,
    pub(crate) spec: Arc<QuerySpec>,
    pub(crate) admin: bool,
    pub(crate) access: IdentityAccess,
    pub(crate) journal: Option<Arc<str>>,
    /// The commit that made it necessary.
    pub(crate) cause: Option<Cause>,
}

/// How a run went.
pub(crate) struct Ran {
    pub(crate) result: LiveResult,
    pub(crate) reads: Arc<ReadSet>,
    pub(crate) read_identity: bool,
    pub(crate) began: Timestamp,
    pub(crate) elapsed: Duration,
}

impl Entry {
    pub(crate) fn new(key: Key, spec: Arc<QuerySpec>, identity: Option<IdentityClass>) -> Self {
        Self {
            journal: key.journal.clone(),
            key,
            spec,
            identity,
            results: VecDeque::new(),
            running: BTreeSet::new(),
            sessions: BTreeMap::new(),
            runs: 0,
            failures: 0,
            history: VecDeque::new(),
            stale_by: None,
            broken: None,
        }
    }

    pub(crate) fn newest(&self) -> Option<&Valid> {
        self.results.back()
    }

    pub(crate) fn at(&self, ts: Timestamp) -> Option<&Valid> {
        self.results.iter().rev().find(|valid| valid.covers(ts))
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.newest().is_some_and(|valid| valid.to.is_none())
    }

    /// Notes a commit that made it stale; the first one until it runs again is the cause.
    pub(crate) fn note_stale(&mut self, by: Cause) {
        match &mut self.stale_by {
            Some(first) if first.last < by.ts => {
                first.last = by.ts;
                first.more = first.more.saturating_add(1);
            }
            Some(_) => {}
            None => self.stale_by = Some(by),
        }
    }

    /// The cause of a run at a timestamp, no longer pending.
    pub(crate) fn take_cause(&mut self, at: Timestamp) -> Option<Cause> {
        self.stale_by.take_if(|cause| cause.ts <= at)
    }

    pub(crate) fn remember(&mut self, run: LiveRun) {
        if self.history.len() >= RUNS_KEPT {
            self.history.pop_front();
        }
        self.history.push_back(run);
    }

    /// Takes in a result. True: it shows something else than the newest one before.
    pub(crate) fn take_in(
        &mut self,
        from: Timestamp,
        to: Option<Timestamp>,
        result: LiveResult,
    ) -> bool {
        let newest = self.newest();
        let same = newest.filter(|newest| newest.result.shows_the_same(&result));
        let changed = same.is_none();
        let result = match same {
            Some(newest) => Arc::clone(&newest.result),
            None => Arc::new(result),
        };
        let is_newest = newest.is_none_or(|newest| newest.from <= from);
        if is_newest {
            self.journal = result.journal.clone().or(self.journal.take());
        }
        let place = self.results.partition_point(|valid| valid.from <= from);
        self.results.insert(place, Valid { from, to, result });
        if self.results.len() > super::RESULTS_KEPT {
            self.results.pop_front();
        }
        changed
    }
}
