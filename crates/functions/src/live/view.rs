//! Live queries and their sessions as people see them who watch. Nothing here is on the way of a frame.

use std::collections::BinaryHeap;
use std::sync::Arc;

use engine::read_set::ReadSet;
use value::Timestamp;

use super::entry::{Entry, EntryId};
use super::history::{Cause, LiveRun};
use super::session::SessionId;
use super::state::State;
use crate::identity::UserIdentity;

/// Figures for people who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveStats {
    /// Entries that somebody shows.
    pub entries: usize,
    /// Entries that are kept in case somebody comes back.
    pub idle: usize,
    /// Bytes of results of those.
    pub idle_bytes: usize,
    /// Sessions.
    pub sessions: usize,
    /// Sessions since the start.
    pub sessions_opened: u64,
    /// Queries that sessions show; one that many show counts for each.
    pub subscriptions: usize,
    /// Runs since the start.
    pub runs: u64,
    /// Commits that made an entry stale, counted per entry.
    pub invalidations: u64,
    /// Subscriptions since the start.
    pub subscribed: u64,
    /// Of those: answered by a result that was there.
    pub hits: u64,
    /// Of those: joined an entry whose run was under way or due.
    pub joins: u64,
}

/// One live query, for people who watch.
#[derive(Clone, Debug)]
pub struct LiveEntryView {
    /// Its number in this process.
    pub number: u64,
    /// The function.
    pub path: Arc<str>,
    /// Its arguments as canonical JSON.
    pub args: Arc<str>,
    /// Whether all identities share it.
    pub shared: bool,
    /// Of an entry that is not shared: whose it is; none for those who are not signed in.
    pub identity: Option<Arc<UserIdentity>>,
    /// Whether it is of administrators.
    pub admin: bool,
    /// Sessions that show it.
    pub sessions: usize,
    /// Runs since it was first shown.
    pub runs: u64,
    /// What the newest result depends on; none while it is stale.
    pub reads: Option<Arc<ReadSet>>,
    /// From when to when the newest result holds; without an end: still.
    pub valid: Option<(Timestamp, Option<Timestamp>)>,
    /// Runs under way.
    pub running: usize,
    /// The newest runs, oldest first, at most [`super::RUNS_KEPT`].
    pub history: Vec<LiveRun>,
    /// The commit that made it stale and for which no run has begun.
    pub stale_by: Option<Cause>,
}

/// One session, for people who watch.
#[derive(Clone, Debug)]
pub struct LiveSessionView {
    /// Its number in this process.
    pub number: u64,
    /// Who looks.
    pub identity: Option<Arc<UserIdentity>>,
    /// Whether that is an administrator.
    pub admin: bool,
    /// The queries that it shows, by the client's number, with the number of the entry.
    pub queries: Vec<(u32, u64)>,
    /// It is given nothing older: what it was given last, or what was durable when it last subscribed.
    pub last: Timestamp,
}

impl State {
    pub(crate) fn stats(&self) -> LiveStats {
        let shown = self.entries.values().filter(|entry| !entry.sessions.is_empty()).count();
        let counts = self.counts;
        LiveStats {
            entries: shown,
            idle: self.entries.len() - shown,
            idle_bytes: self.idle_bytes,
            sessions: self.sessions.len(),
            sessions_opened: counts.opened,
            subscriptions: self.sessions.values().map(|session| session.queries.len()).sum(),
            runs: counts.runs,
            invalidations: counts.invalidations,
            subscribed: counts.subscribed,
            hits: counts.hits,
            joins: counts.joins,
        }
    }

    pub(crate) fn views(&self) -> Vec<LiveEntryView> {
        let mut views: Vec<_> =
            self.entries.iter().map(|(id, entry)| self.view(*id, entry)).collect();
        views.sort_by(|a, b| (&a.path, &a.args).cmp(&(&b.path, &b.args)));
        views
    }

    /// The first `limit` entries above number `after`, of one function if it is named.
    pub(crate) fn view_page(
        &self,
        after: u64,
        limit: usize,
        path: Option<&str>,
    ) -> Vec<LiveEntryView> {
        let wanted = self
            .entries
            .iter()
            .filter(|(id, entry)| id.0 > after && path.is_none_or(|path| &*entry.key.path == path));
        let ids = smallest(wanted.map(|(id, _)| id.0), limit).into_iter().map(EntryId);
        ids.filter_map(|id| Some(self.view(id, self.entries.get(&id)?))).collect()
    }

    pub(crate) fn view_of(&self, number: u64) -> Option<LiveEntryView> {
        let id = EntryId(number);
        Some(self.view(id, self.entries.get(&id)?))
    }

    /// The first `limit` sessions above number `after`.
    pub(crate) fn session_page(&self, after: u64, limit: usize) -> Vec<LiveSessionView> {
        let wanted = self.sessions.keys().map(|id| id.0).filter(|id| *id > after);
        let ids = smallest(wanted, limit).into_iter().map(SessionId);
        ids.filter_map(|id| {
            let session = self.sessions.get(&id)?;
            Some(LiveSessionView {
                number: id.0,
                identity: session.caller.identity.clone(),
                admin: session.caller.admin,
                queries: session.queries.iter().map(|(query, s)| (*query, s.entry.0)).collect(),
                last: session.floor,
            })
        })
        .collect()
    }

    fn view(&self, id: EntryId, entry: &Entry) -> LiveEntryView {
        LiveEntryView {
            number: id.0,
            path: Arc::clone(&entry.key.path),
            args: Arc::clone(&entry.key.args),
            shared: entry.identity.is_none(),
            identity: entry.identity.as_ref().and_then(|class| class.user.clone()),
            admin: entry.key.admin,
            sessions: entry.sessions.len(),
            runs: entry.runs,
            reads: self.index.get(id).cloned(),
            valid: entry.newest().map(|valid| (valid.from, valid.to)),
            running: entry.running.len(),
            history: entry.history.iter().cloned().collect(),
            stale_by: entry.stale_by.clone(),
        }
    }
}

/// The `limit` smallest numbers, ascending.
fn smallest(numbers: impl Iterator<Item = u64>, limit: usize) -> Vec<u64> {
    let mut heap = BinaryHeap::new();
    for number in numbers {
        heap.push(number);
        if heap.len() > limit {
            heap.pop();
        }
    }
    heap.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_numbers() {
        assert_eq!(smallest([5, 1, 9, 3].into_iter(), 2), [1, 3]);
        assert_eq!(smallest([5, 1].into_iter(), 9), [1, 5]);
        assert!(smallest(std::iter::empty(), 9).is_empty());
        assert!(smallest([5, 1].into_iter(), 0).is_empty());
    }
}
