//! The query set, and the transitions that bring it to the client.
//!
//! A transition is due when the client has announced something that no transition has confirmed,
//! when an answer has no transition after it, or when a result is stale. `flush` starts a refresh
//! and notes what it covers; everything that comes meanwhile belongs to the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use value::{ComponentPath, FunctionPath, Timestamp, Value};

use crate::client::{AddQuery, ModifyQuerySet, QuerySetModification};
use crate::error::{ErrorClass, SystemError};
use crate::ids::{QueryId, Version};
use crate::limits::{REPLAY_WAIT_MS, TRANSITIONS_WAITING_MAX};
use crate::outgoing::{Modification, Outgoing, Transition};
use crate::result::{Digest, QueryResult};

use super::{Output, Results, Session, Subscription, runnable, too_many_requests};

/// A query of the set.
pub(super) struct Query {
    path: FunctionPath,
    args: Arc<Vec<Value>>,
    bytes: usize,
    component: ComponentPath,
    journal: Option<Arc<str>>,
    /// What the client shows.
    shown: Option<Digest>,
    /// The failure of a query that can not run. It is never subscribed.
    failed: Option<Arc<QueryResult>>,
}

/// A refresh that runs, or whose result is held back.
pub(super) struct Refresh {
    query_set: u32,
    identity: u32,
    at_least: Timestamp,
    removed: BTreeSet<QueryId>,
    /// New queries that can not run: their failures go out with this refresh.
    failed: Vec<QueryId>,
    /// Finished, but a mutation that it may show is not answered yet.
    held: Option<(Timestamp, Results)>,
}

impl<I: Clone> Session<I> {
    pub(super) fn modify_query_set(&mut self, step: ModifyQuerySet) -> Result<(), SystemError> {
        let ModifyQuerySet { base, new, modifications } = step;
        let current = self.received_query_set;
        if base != current {
            let message = format!(
                "Base version {base} passed up doesn't match the current version {current}"
            );
            // A client that lost its Connect has also lost count: only a reconnect heals it.
            return Err(match self.connect {
                Some(_) => SystemError::new(ErrorClass::BadRequest, "BaseVersionMismatch", message),
                None => SystemError::internal(message),
            });
        }
        if new <= base {
            let message = format!("ModifyQuerySet from version {base} to {new}");
            return Err(SystemError::internal(message));
        }
        for modification in modifications {
            match modification {
                QuerySetModification::Add(add) => self.add(add)?,
                QuerySetModification::Remove(query) => self.remove(query)?,
            }
        }
        self.received_query_set = new;
        Ok(())
    }

    fn add(&mut self, add: AddQuery) -> Result<(), SystemError> {
        let AddQuery { query, path, args, bytes, journal, component } = add;
        if self.queries.contains_key(&query) {
            return Err(SystemError::internal(format!("query {query} is added twice")));
        }
        if self.queries.len() >= self.options.limits.queries_max {
            return Err(too_many_requests("too many queries on one connection"));
        }
        self.hold(bytes)?;
        let (args, failed) = match runnable(args, &component) {
            Ok(args) => (args, None),
            Err(detail) => {
                let call_id = self.call_id(None);
                let error = self.call_error(call_id, &detail);
                (Vec::new(), Some(Arc::new(QueryResult::failure(&error, &[], None))))
            }
        };
        self.removed.remove(&query);
        self.fresh.insert(query);
        self.queries.insert(
            query,
            Query {
                path,
                args: Arc::new(args),
                bytes,
                component,
                journal: journal.map(Arc::from),
                shown: None,
                failed,
            },
        );
        Ok(())
    }

    fn remove(&mut self, query: QueryId) -> Result<(), SystemError> {
        let Some(gone) = self.queries.remove(&query) else {
            return Err(SystemError::internal(format!("query {query} is removed, but unknown")));
        };
        self.held_bytes = self.held_bytes.saturating_sub(gone.bytes);
        let was_fresh = self.fresh.remove(&query);
        if !was_fresh && gone.failed.is_none() {
            self.unsubscribe.insert(query);
        }
        self.removed.insert(query);
        Ok(())
    }

    /// Whether a transition is due, and nothing stands in the way of its refresh.
    pub(super) fn may_refresh(&mut self, now_ms: i64) -> bool {
        let busy = self.refresh.is_some() || self.transitions_waiting >= TRANSITIONS_WAITING_MAX;
        self.paced_until_ms = None;
        if busy || !(self.begun || self.is_due() && self.may_begin(now_ms)) {
            return false;
        }
        if self.is_owed() {
            return true;
        }
        if self.changed <= self.current.ts {
            return false;
        }
        let next = self.pace.next_ms(self.options.limits.burst_interval_ms);
        if now_ms < next {
            self.paced_until_ms = Some(next);
        }
        now_ms >= next
    }

    fn is_due(&self) -> bool {
        self.is_owed() || self.changed > self.current.ts
    }

    /// Whether the client waits for a transition, be there changes or not.
    fn is_owed(&self) -> bool {
        let Version { query_set, identity, .. } = self.current;
        let announced = (self.received_query_set, self.received_identity);
        announced != (query_set, identity) || self.answer_unfollowed
    }

    /// The first transition waits for a token that is being verified, and on a reconnect, for a
    /// while, until the client has said what it shows and for the mutations that came along. Else it
    /// would settle mutations before their effect can be seen.
    fn may_begin(&mut self, now_ms: i64) -> bool {
        if self.waiting.is_some() {
            return false;
        }
        let again = self.connect.as_ref().is_some_and(|connected| connected.again);
        let mutations_run = self.mutation.is_some() || !self.mutations.is_empty();
        let since = *self.due_since_ms.get_or_insert(now_ms);
        let comes = self.received_query_set == 0 || mutations_run;
        !(again && comes) || now_ms.saturating_sub(since) >= REPLAY_WAIT_MS
    }

    pub(super) fn start_refresh(&mut self, now_ms: i64, out: &mut Vec<Output<I>>) {
        if !self.is_owed() {
            self.pace.start(now_ms, self.options.limits.burst_interval_ms);
        }
        for query in std::mem::take(&mut self.unsubscribe) {
            out.push(Output::Unsubscribe(query));
        }
        let failed = self.subscribe(out);
        self.begun = true;
        let observed = self.connect.as_ref().map_or(Timestamp(0), |it| it.max_observed);
        let at_least = self.current.ts.max(self.answered_ts).max(self.changed).max(observed);
        self.refresh = Some(Refresh {
            query_set: self.received_query_set,
            identity: self.received_identity,
            at_least,
            removed: std::mem::take(&mut self.removed),
            failed,
            held: None,
        });
        out.push(Output::Refresh { at_least });
    }

    /// Subscribes what is new, or everything again under a new identity. Returns the new queries
    /// that can not run.
    fn subscribe(&mut self, out: &mut Vec<Output<I>>) -> Vec<QueryId> {
        let fresh = std::mem::take(&mut self.fresh);
        let all = std::mem::take(&mut self.identity.changed);
        let mut failed = Vec::new();
        if !all && fresh.is_empty() {
            return failed;
        }
        for (id, query) in &self.queries {
            let is_fresh = fresh.contains(id);
            if query.failed.is_some() {
                failed.extend(is_fresh.then_some(*id));
            } else if is_fresh || all {
                out.push(Output::Subscribe(Subscription {
                    query: *id,
                    path: query.path.clone(),
                    args: Arc::clone(&query.args),
                    journal: query.journal.clone(),
                    identity: self.identity.handle.clone(),
                    component: query.component.clone(),
                }));
            }
        }
        failed
    }

    pub(super) fn refreshed(
        &mut self,
        ts: Timestamp,
        results: Results,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        let Some(refresh) = self.refresh.as_mut().filter(|refresh| refresh.held.is_none()) else {
            return Ok(());
        };
        if ts < refresh.at_least {
            let message = format!("refreshed at {ts}, before {}", refresh.at_least);
            return Err(SystemError::internal(message));
        }
        refresh.held = Some((ts, results));
        self.release_refresh(out);
        Ok(())
    }

    /// Sends the transition of a finished refresh, unless it may show a mutation that is not
    /// answered yet.
    pub(super) fn release_refresh(&mut self, out: &mut Vec<Output<I>>) {
        let committed = self.mutation.as_ref().and_then(|running| running.committed);
        let ready = self.refresh.take_if(|refresh| match (&refresh.held, committed) {
            (None, _) => false,
            (Some((ts, _)), Some(committed)) => *ts < committed,
            (Some(_), None) => true,
        });
        let Some(Refresh { query_set, identity, removed, failed, held, .. }) = ready else {
            return;
        };
        let Some((ts, results)) = held else { return };
        let mut modifications: BTreeMap<QueryId, Modification> =
            removed.into_iter().map(|query| (query, Modification::Removed(query))).collect();
        for (id, result) in results {
            self.show(id, result, &mut modifications);
        }
        for id in failed {
            if let Some(result) = self.queries.get(&id).and_then(|query| query.failed.clone()) {
                self.show(id, result, &mut modifications);
            }
        }
        let end = Version { query_set, identity, ts };
        self.transition(end, modifications.into_values().collect(), out);
    }

    /// Takes a result into the transition, unless the client shows the same already. A query
    /// that was removed meanwhile, or removed and added again, is not part of this refresh.
    fn show(
        &mut self,
        id: QueryId,
        result: Arc<QueryResult>,
        modifications: &mut BTreeMap<QueryId, Modification>,
    ) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        if self.fresh.contains(&id) {
            return;
        }
        query.journal = result.journal().cloned();
        if query.shown != Some(result.digest()) {
            query.shown = Some(result.digest());
            modifications.insert(id, Modification::Result(id, result));
        }
    }

    fn transition(
        &mut self,
        end: Version,
        modifications: Vec<Modification>,
        out: &mut Vec<Output<I>>,
    ) {
        let transition = Transition {
            start: self.current,
            end,
            modifications,
            clock_skew_ms: self.connect.as_ref().and_then(|connected| connected.clock_skew_ms),
            chunks: self.options.client.takes_chunks(),
        };
        self.current = end;
        if end.ts >= self.answered_ts {
            self.answer_unfollowed = false;
        }
        self.transitions_waiting += 1;
        self.answers.before += std::mem::take(&mut self.answers.after);
        out.push(Output::Send(Outgoing::Transition(transition)));
    }
}
