//! The registry of live queries: pure bookkeeping under one lock, nothing is run here.
//!
//! Every step returns the runs that are to be carried out and the wakers that are to be called once the
//! lock is let go.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use engine::LogEntry;
use engine::interval_index::IntervalIndex;
use value::{Timestamp, Value, json};

use super::entry::{
    Entry, EntryId, IdentityClass, IdentityKey, Key, LiveOutcome, LiveResult, Ran, Run,
};
use super::history::{Cause, LiveRun};
use super::session::{Covered, QuerySpec, SessionId, SessionState, Waker};
use super::{RUN_FAILURES_MAX, access_of};
use crate::error::Error;
use crate::options::RuntimeOptions;
use crate::runtime::Caller;

/// What is to be done after a step, outside the lock.
pub(crate) type Todo = (Vec<Run>, Vec<Waker>);

/// A query that a session shows.
pub(crate) struct Subscription {
    pub(crate) spec: Arc<QuerySpec>,
    pub(crate) entry: EntryId,
}

pub(crate) struct State {
    head: Timestamp,
    next: u64,
    pub(super) entries: HashMap<EntryId, Entry>,
    by_key: BTreeMap<Key, EntryId>,
    /// Functions that were seen to read the identity.
    identity_readers: BTreeSet<Arc<str>>,
    pub(super) index: IntervalIndex<EntryId>,
    pub(super) sessions: HashMap<SessionId, SessionState>,
    waiting_for_head: Vec<SessionId>,
    idle: VecDeque<(EntryId, usize)>,
    pub(super) idle_bytes: usize,
    idle_entries_max: usize,
    idle_bytes_max: usize,
    pub(super) counts: Counts,
}

/// What is counted of live queries.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) runs: u64,
    pub(super) invalidations: u64,
    pub(super) opened: u64,
    pub(super) subscribed: u64,
    pub(super) hits: u64,
    pub(super) joins: u64,
}

impl State {
    pub(crate) fn new(head: Timestamp, options: &RuntimeOptions) -> Self {
        Self {
            head,
            next: 0,
            entries: HashMap::new(),
            by_key: BTreeMap::new(),
            identity_readers: BTreeSet::new(),
            index: IntervalIndex::new(),
            sessions: HashMap::new(),
            waiting_for_head: Vec::new(),
            idle: VecDeque::new(),
            idle_bytes: 0,
            idle_entries_max: options.idle_entries_max,
            idle_bytes_max: options.idle_bytes_max,
            counts: Counts::default(),
        }
    }

    pub(crate) fn head(&self) -> Timestamp {
        self.head
    }

    pub(crate) fn open_session(&mut self, waker: Waker) -> SessionId {
        let id = SessionId(self.number());
        let session = SessionState {
            caller: Caller::default(),
            queries: BTreeMap::new(),
            waker,
            waiting: false,
            blocked_by: None,
            floor: Timestamp::MIN,
            target: None,
        };
        self.sessions.insert(id, session);
        self.counts.opened += 1;
        id
    }

    pub(crate) fn close_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        for shown in session.queries.into_values() {
            self.leave(shown.entry, id);
        }
    }

    pub(crate) fn set_caller(&mut self, id: SessionId, caller: Caller) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let admin_changed = session.caller.admin != caller.admin;
        session.caller = caller;
        session.target = None;
        let moved: Vec<(u32, Arc<QuerySpec>)> = session
            .queries
            .iter()
            .filter(|(_, shown)| {
                let entry = self.entries.get(&shown.entry);
                admin_changed || entry.is_none_or(|entry| entry.identity.is_some())
            })
            .map(|(query, shown)| (*query, Arc::clone(&shown.spec)))
            .collect();
        for (query, spec) in moved {
            self.show(id, query, spec);
        }
    }

    pub(crate) fn subscribe(
        &mut self,
        id: SessionId,
        query: u32,
        spec: QuerySpec,
        durable: Timestamp,
    ) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.floor = session.floor.max(durable);
        }
        let before = self.next;
        let entry = self.show(id, query, Arc::new(spec));
        self.counts.subscribed += 1;
        let is_known = self.next == before;
        match self.entries.get(&entry) {
            Some(entry) if is_known && entry.is_fresh() => self.counts.hits += 1,
            Some(_) if is_known => self.counts.joins += 1,
            Some(_) | None => {}
        }
    }

    pub(crate) fn unsubscribe(&mut self, id: SessionId, query: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(gone) = session.queries.remove(&query) else { return };
        self.leave(gone.entry, id);
    }

    /// Takes commits into account.
    pub(crate) fn publish(&mut self, commits: &[Arc<LogEntry>], head: Timestamp) -> Todo {
        let mut stale = BTreeSet::new();
        for commit in commits {
            for write in &commit.writes {
                let hit = &mut |id| {
                    stale.insert(id);
                    let Some(entry) = self.entries.get_mut(&id) else { return };
                    let open = entry.results.iter_mut().filter(|valid| valid.to.is_none());
                    let mut ended = false;
                    for valid in open.filter(|valid| valid.from < commit.ts) {
                        valid.to = Some(commit.ts);
                        self.counts.invalidations += 1;
                        ended = true;
                    }
                    if ended || entry.stale_by.is_some() {
                        entry.note_stale(Cause::new(commit, write));
                    }
                };
                self.index.stab(write.index, &write.key, hit);
            }
        }
        self.head = self.head.max(head);
        let mut runs = Vec::new();
        for id in stale {
            self.after_change(id, &mut runs);
        }
        let waiting = std::mem::take(&mut self.waiting_for_head);
        let sessions = waiting.iter().filter_map(|id| self.sessions.get(id));
        (runs, sessions.map(|session| Arc::clone(&session.waker)).collect())
    }

    /// Installs the result of a run; `later` are the commits in `(run.at, head]`, if still known.
    pub(crate) fn install(&mut self, run: &Run, ran: Ran, later: Option<&[Arc<LogEntry>]>) -> Todo {
        self.counts.runs += 1;
        let (id, at) = (run.entry, run.at);
        let Some(entry) = self.entries.get_mut(&id) else { return (Vec::new(), Vec::new()) };
        entry.running.remove(&at);
        entry.runs += 1;
        entry.failures = 0;
        if run.journal.is_none() && entry.journal.is_some() {
            // Begun before another first run had given the page its end.
            entry.stale_by = entry.stale_by.take().or_else(|| run.cause.clone());
            return (vec![begin_run(id, entry, at)], Vec::new());
        }
        let mut to = match later {
            Some(later) => {
                let mut hits =
                    later.iter().filter_map(|commit| Some((commit, commit.hit(&ran.reads)?)));
                hits.next().map(|(commit, write)| {
                    entry.note_stale(Cause::new(commit, write));
                    commit.ts
                })
            }
            None => Some(at.succ()),
        };
        let newer = entry.newest().map(|valid| valid.from).filter(|from| *from > at);
        if let (None, Some(newer)) = (to, newer) {
            // The read set that is watched is the newest one's.
            to = Some(newer);
        }
        let failed = matches!(ran.result.outcome, LiveOutcome::Failed(_));
        let changed = entry.take_in(at, to, ran.result);
        entry.remember(LiveRun {
            ts: at,
            began: ran.began,
            elapsed: ran.elapsed,
            cause: run.cause.clone(),
            changed,
            failed,
        });
        if newer.is_none() {
            match to {
                None => self.index.insert(id, ran.reads),
                Some(_) => drop(self.index.remove(id)),
            }
        }
        let mut runs = Vec::new();
        if !ran.read_identity {
            self.share(id);
        }
        self.alias(id);
        let wakers = self.to_wake(id, changed);
        self.after_change(id, &mut runs);
        (runs, wakers)
    }

    /// A run failed for a reason of the system's: it is repeated, and given up after some times.
    pub(crate) fn run_failed(&mut self, run: &Run, error: &Error) -> Todo {
        let id = run.entry;
        let Some(entry) = self.entries.get_mut(&id) else { return (Vec::new(), Vec::new()) };
        entry.running.remove(&run.at);
        entry.stale_by = entry.stale_by.take().or_else(|| run.cause.clone());
        entry.failures += 1;
        let mut runs = Vec::new();
        if entry.failures >= RUN_FAILURES_MAX {
            entry.failures = 0;
            entry.broken = Some(error.clone());
            return (runs, self.wakers(id));
        }
        self.after_change(id, &mut runs);
        (runs, Vec::new())
    }

    /// The run of a shared entry asked who looks: everybody gets an entry of their own.
    pub(crate) fn split(&mut self, run: &Run) -> Todo {
        let id = run.entry;
        let Some(entry) = self.remove(id) else { return (Vec::new(), Vec::new()) };
        self.identity_readers.insert(Arc::clone(&entry.key.path));
        let mut runs = Vec::new();
        for session in entry.sessions.into_keys() {
            let Some(state) = self.sessions.get(&session) else { continue };
            let shown = state.queries.iter().filter(|(_, shown)| shown.entry == id);
            let moved: Vec<_> = shown.map(|(query, s)| (*query, Arc::clone(&s.spec))).collect();
            for (query, spec) in moved {
                let own = self.show(session, query, spec);
                if let Some(own) = self.entries.get_mut(&own).filter(|own| own.results.is_empty()) {
                    own.stale_by = own.stale_by.take().or_else(|| run.cause.clone());
                }
                self.after_change(own, &mut runs);
            }
        }
        (runs, Vec::new())
    }

    /// See [`super::LiveSession::poll`].
    pub(crate) fn poll(
        &mut self,
        id: SessionId,
        at_least: Timestamp,
    ) -> (Result<Option<Covered>, Error>, Vec<Run>) {
        let mut runs = Vec::new();
        let Some(session) = self.sessions.get(&id) else { return (Ok(None), runs) };
        let floor = at_least.max(session.floor);
        let shown: BTreeSet<EntryId> = session.queries.values().map(|q| q.entry).collect();
        for entry in &shown {
            if let Some(error) = self.entries.get_mut(entry).and_then(|e| e.broken.take()) {
                return (Err(error), runs);
            }
        }
        let common = self.common(&shown, floor);
        if common.is_none() {
            self.aim(id, &shown, floor, &mut runs);
        }
        // What is stale is wanted at the head, whether or not older results are given now.
        for entry in &shown {
            self.after_change(*entry, &mut runs);
        }
        // Another entry is behind: when its run ends the session must look again, whatever it gives.
        let is_ahead = |ts| shown.iter().any(|entry| self.is_ahead(*entry, ts));
        let waiting = common.is_none_or(is_ahead);
        let blocked_by = common.is_none().then(|| self.blocking(&shown, floor)).flatten();
        let Some(session) = self.sessions.get_mut(&id) else { return (Ok(None), runs) };
        (session.waiting, session.blocked_by) = (waiting, blocked_by);
        let Some(ts) = common else {
            if floor > self.head {
                self.waiting_for_head.push(id);
            }
            return (Ok(None), runs);
        };
        session.floor = ts;
        session.target = None;
        let result = |(query, shown): (&u32, &Subscription)| {
            let valid = self.entries.get(&shown.entry).and_then(|entry| entry.at(ts));
            valid.map(|valid| (*query, Arc::clone(&valid.result)))
        };
        let results = session.queries.iter().filter_map(result).collect();
        (Ok(Some(Covered { ts, results })), runs)
    }

    /// Whether an entry has a newer result than the one at `ts`, which shows something else.
    fn is_ahead(&self, id: EntryId, ts: Timestamp) -> bool {
        let Some(entry) = self.entries.get(&id) else { return false };
        let shown = entry.at(ts).map(|valid| &valid.result);
        let newest = entry.newest().map(|valid| &valid.result);
        shown.zip(newest).is_some_and(|(shown, newest)| !Arc::ptr_eq(shown, newest))
    }

    /// The greatest timestamp at or above `floor` that all entries cover.
    fn common(&self, shown: &BTreeSet<EntryId>, floor: Timestamp) -> Option<Timestamp> {
        let mut ts = self.head;
        loop {
            let mut lower = ts;
            for id in shown {
                let entry = self.entries.get(id)?;
                let below = entry.results.iter().rev().find(|valid| valid.from <= ts)?;
                lower = lower.min(below.last(ts));
            }
            if lower < floor {
                return None;
            }
            if lower == ts {
                return Some(ts);
            }
            ts = lower;
        }
    }

    /// An entry that has nothing at or above `floor`: the last one, since runs are begun in order.
    fn blocking(&self, shown: &BTreeSet<EntryId>, floor: Timestamp) -> Option<EntryId> {
        let has_some = |entry: &Entry| entry.results.iter().any(|it| it.last(self.head) >= floor);
        let mut last_first = shown.iter().rev();
        last_first.find(|id| self.entries.get(id).is_some_and(|entry| !has_some(entry))).copied()
    }

    /// Starts what is needed for the entries to have a timestamp in common.
    fn aim(
        &mut self,
        id: SessionId,
        shown: &BTreeSet<EntryId>,
        floor: Timestamp,
        runs: &mut Vec<Run>,
    ) {
        if floor > self.head {
            return;
        }
        let entries = || shown.iter().filter_map(|id| self.entries.get(id));
        let results = entries().filter_map(|entry| entry.newest().map(|valid| valid.from));
        let running = entries().filter_map(|entry| entry.running.last().copied());
        let newest = results.chain(running).max().unwrap_or(self.head).max(floor);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // The first time whatever runs already may do. Later, insist: results at one timestamp.
        let insist = session.target.filter(|target| *target >= floor);
        let target = insist.unwrap_or(newest);
        session.target = Some(target);
        for id in shown {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            let busy = if insist.is_some() {
                entry.running.contains(&target)
            } else {
                !entry.running.is_empty()
            };
            if entry.at(target).is_none() && !busy {
                runs.push(begin_run(*id, entry, target));
            }
        }
    }

    /// Has a stale entry that somebody shows run again; drops one that nobody shows.
    fn after_change(&mut self, id: EntryId, runs: &mut Vec<Run>) {
        let head = self.head;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.is_fresh() {
            return;
        }
        self.rekey(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.sessions.is_empty() {
            self.remove(id);
        } else if entry.running.is_empty() {
            runs.push(begin_run(id, entry, head));
        }
    }

    /// Shows a query to a session; gives its entry.
    fn show(&mut self, id: SessionId, query: u32, spec: Arc<QuerySpec>) -> EntryId {
        let caller = self.sessions.get(&id).map(|s| s.caller.clone()).unwrap_or_default();
        let entry = self.resolve(&spec, &caller);
        let Some(session) = self.sessions.get_mut(&id) else { return entry };
        let before = session.queries.insert(query, Subscription { spec, entry });
        if let Some(entry) = self.entries.get_mut(&entry) {
            *entry.sessions.entry(id).or_default() += 1;
        }
        if let Some(before) = before {
            self.leave(before.entry, id);
        }
        entry
    }

    /// The entry that this caller shares with others like it; a new one if there is none.
    fn resolve(&mut self, spec: &Arc<QuerySpec>, caller: &Caller) -> EntryId {
        let args: Vec<String> = spec.args.iter().map(json::to_string).collect();
        let mut key = Key {
            path: Arc::clone(&spec.path),
            args: Arc::from(args.join(",")),
            journal: spec.journal.clone(),
            admin: caller.admin,
            identity: IdentityKey::Shared,
        };
        if let Some(shared) = self.by_key.get(&key) {
            return *shared;
        }
        let mut identity = None;
        if self.identity_readers.contains(&spec.path) {
            let class = IdentityClass { user: caller.identity.clone() };
            key.identity = IdentityKey::Of(class.key());
            if let Some(own) = self.by_key.get(&key) {
                return *own;
            }
            identity = Some(class);
        }
        let id = EntryId(self.number());
        self.by_key.insert(key.clone(), id);
        self.entries.insert(id, Entry::new(key, Arc::clone(spec), identity));
        id
    }

    /// One query less of a session shows an entry.
    fn leave(&mut self, id: EntryId, session: SessionId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(queries) = entry.sessions.get_mut(&session) else { return };
        *queries -= 1;
        if *queries > 0 {
            return;
        }
        entry.sessions.remove(&session);
        if !entry.sessions.is_empty() {
            return;
        }
        if !entry.is_fresh() {
            self.remove(id);
            return;
        }
        let bytes = entry.bytes();
        self.idle.push_back((id, bytes));
        self.idle_bytes += bytes;
        while self.idle.len() > self.idle_entries_max || self.idle_bytes > self.idle_bytes_max {
            let Some((oldest, bytes)) = self.idle.pop_front() else { break };
            self.idle_bytes -= bytes;
            if self.entries.get(&oldest).is_some_and(|entry| entry.sessions.is_empty()) {
                self.remove(oldest);
            }
        }
    }

    fn remove(&mut self, id: EntryId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.index.remove(id);
        for key in [entry.key.clone(), Key { journal: entry.journal.clone(), ..entry.key.clone() }]
        {
            if self.by_key.get(&key) == Some(&id) {
                self.by_key.remove(&key);
            }
        }
        Some(entry)
    }

    /// A client that comes back with the journal of a first page finds the same entry.
    fn alias(&mut self, id: EntryId) {
        let Some(entry) = self.entries.get(&id) else { return };
        if entry.journal != entry.key.journal {
            let key = Key { journal: entry.journal.clone(), ..entry.key.clone() };
            self.by_key.entry(key).or_insert(id);
        }
    }

    /// From its first rerun on, an entry with a journal is no longer what a fresh client asks for.
    fn rekey(&mut self, id: EntryId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.journal == entry.key.journal {
            return;
        }
        if self.by_key.get(&entry.key) == Some(&id) {
            self.by_key.remove(&entry.key);
        }
        entry.key.journal.clone_from(&entry.journal);
        self.by_key.entry(entry.key.clone()).or_insert(id);
    }

    /// An entry of one identity that did not ask for it becomes everybody's.
    fn share(&mut self, id: EntryId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.identity.is_none() {
            return;
        }
        let shared = Key { identity: IdentityKey::Shared, ..entry.key.clone() };
        if self.by_key.contains_key(&shared) {
            return;
        }
        if self.by_key.get(&entry.key) == Some(&id) {
            self.by_key.remove(&entry.key);
        }
        entry.identity = None;
        entry.key = shared.clone();
        self.by_key.insert(shared, id);
    }

    /// Those for whom the result of a run may matter.
    fn to_wake(&self, id: EntryId, changed: bool) -> Vec<Waker> {
        let Some(entry) = self.entries.get(&id) else { return Vec::new() };
        let ids = entry.sessions.keys();
        let sessions = ids.filter_map(|session| Some((session, self.sessions.get(session)?)));
        let woken = sessions.filter(|(session, state)| {
            let is_blocked = state.blocked_by.filter(|by| *by != id).is_some_and(|by| {
                let by = self.entries.get(&by);
                by.is_some_and(|entry| entry.sessions.contains_key(session))
            });
            !is_blocked && (changed || state.waiting)
        });
        woken.map(|(_, state)| Arc::clone(&state.waker)).collect()
    }

    /// Everybody who shows an entry.
    fn wakers(&self, id: EntryId) -> Vec<Waker> {
        let sessions = self.entries.get(&id).into_iter().flat_map(|entry| entry.sessions.keys());
        let states = sessions.filter_map(|session| self.sessions.get(session));
        states.map(|state| Arc::clone(&state.waker)).collect()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        let bytes = |result: &LiveResult| match &result.outcome {
            LiveOutcome::Value(json) => json.len(),
            LiveOutcome::Failed(error) => error.message().len(),
        };
        let args: usize = self.spec.args.iter().map(Value::size).sum();
        args + self.results.iter().map(|valid| bytes(&valid.result)).sum::<usize>()
    }
}

fn begin_run(id: EntryId, entry: &mut Entry, at: Timestamp) -> Run {
    entry.running.insert(at);
    let cause = entry.take_cause(at);
    Run {
        entry: id,
        at,
        spec: Arc::clone(&entry.spec),
        admin: entry.key.admin,
        access: access_of(entry.identity.as_ref()),
        journal: entry.journal.clone(),
        cause,
    }
}
