//! Random schedules. A model of the client and of the server keeps its own account of what is
//! true at each timestamp, and checks every output against it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use crate::limits::REPLAY_WAIT_MS;
use crate::session::{Input, Options, Output, Session, Verified};
use crate::{
    ActionOutcome, CallError, ClientVersion, ErrorClass, Modification, MutationOutcome, Outgoing,
    QueryId, QueryResult, RequestId, SystemError, Transition, Version,
};
use value::Timestamp;

/// One step of a schedule. Numbers choose among what is possible at that moment.
#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Remove(u8),
    EmptyModify,
    AddAndRemove,
    Mutation {
        bad_args: bool,
    },
    Action {
        bad_args: bool,
    },
    Authenticate,
    Verify,
    /// Someone else commits, and touches the queries of this residue.
    OtherCommit(u8),
    /// The running mutation commits.
    OwnCommit {
        announced: bool,
    },
    FinishMutation {
        fails: bool,
    },
    FinishAction {
        fails: bool,
    },
    /// At the newest timestamp, or at the one that was newest when it started.
    FinishRefresh {
        newest: bool,
    },
    Drain,
    Tick(u16),
    Event,
}

fn steps() -> impl Strategy<Value = Vec<(Step, bool)>> {
    let step = prop_oneof![
        3 => any::<u8>().prop_map(Step::Add),
        2 => any::<u8>().prop_map(Step::Remove),
        1 => Just(Step::EmptyModify),
        1 => Just(Step::AddAndRemove),
        3 => prop::bool::weighted(0.1).prop_map(|bad_args| Step::Mutation { bad_args }),
        1 => prop::bool::weighted(0.1).prop_map(|bad_args| Step::Action { bad_args }),
        1 => Just(Step::Authenticate),
        2 => Just(Step::Verify),
        4 => any::<u8>().prop_map(Step::OtherCommit),
        4 => any::<bool>().prop_map(|announced| Step::OwnCommit { announced }),
        4 => prop::bool::weighted(0.2).prop_map(|fails| Step::FinishMutation { fails }),
        1 => any::<bool>().prop_map(|fails| Step::FinishAction { fails }),
        6 => any::<bool>().prop_map(|newest| Step::FinishRefresh { newest }),
        6 => Just(Step::Drain),
        1 => (0..400_u16).prop_map(Step::Tick),
        1 => Just(Step::Event),
    ];
    prop::collection::vec((step, prop::bool::weighted(0.8)), 1..120)
}

/// Queries of the same residue read the same data.
const RESIDUES: u32 = 3;

struct Model {
    session: Session<u32>,
    now_ms: i64,

    // The data: when each residue was written, and the newest commit.
    writes: Vec<(u64, u32)>,
    head: u64,

    // The server.
    subscribed: BTreeMap<QueryId, u32>,
    /// What was asked for, and the newest commit at that moment.
    refresh: Option<(u64, u64)>,
    running: Option<RunningMutation>,
    mutations_sent: VecDeque<RequestId>,
    actions: Vec<RequestId>,
    verifying: bool,
    verified: u32,
    undrained: u32,
    /// The identity of each request when its message was sent.
    senders: BTreeMap<RequestId, u32>,
    /// The identity of the refresh that runs.
    refresh_identity: u32,
    cause: bool,

    // The client.
    next_query: u32,
    next_request: u32,
    query_set: u32,
    identities: u32,
    live: BTreeSet<QueryId>,
    /// The live queries at each version of the query set.
    sets: BTreeMap<u32, BTreeSet<QueryId>>,
    shown: BTreeMap<QueryId, String>,
    version: Version,
    unanswered: BTreeSet<RequestId>,
    unfollowed: bool,
    answered_ts: u64,
}

struct RunningMutation {
    request: RequestId,
    committed: Option<u64>,
    announced: bool,
}

impl Model {
    fn new(again: bool) -> Model {
        let options = Options {
            client: ClientVersion::resolve(None, Some("1.48.0")).unwrap(),
            entropy: [3; 16],
            show_errors: true,
            limits: crate::SessionLimits::default(),
        };
        let mut model = Model {
            session: Session::new(options, 0, 0),
            now_ms: 0,
            writes: Vec::new(),
            head: 100,
            subscribed: BTreeMap::new(),
            refresh: None,
            running: None,
            mutations_sent: VecDeque::new(),
            actions: Vec::new(),
            verifying: false,
            verified: 0,
            undrained: 0,
            senders: BTreeMap::new(),
            refresh_identity: 0,
            cause: false,
            next_query: 0,
            next_request: 0,
            query_set: 0,
            identities: 0,
            live: BTreeSet::new(),
            sets: BTreeMap::from([(0, BTreeSet::new())]),
            shown: BTreeMap::new(),
            version: Version::START,
            unanswered: BTreeSet::new(),
            unfollowed: false,
            answered_ts: 0,
        };
        let count = u32::from(again);
        model.frame(&format!(
            r#"{{"type":"Connect","sessionId":"00000000-0000-4000-8000-000000000001","connectionCount":{count},"clientTs":5}}"#
        ));
        model
    }

    /// What query `id` returns as of `ts`: equal for every two writes.
    fn truth(&self, id: QueryId, ts: u64) -> String {
        let residue = id.0 % RESIDUES;
        let written = |write: &&(u64, u32)| write.0 <= ts && write.1 == residue;
        format!("{}.0", self.writes.iter().filter(written).count() / 2)
    }

    fn feed(&mut self, input: Input<'_, u32>) {
        let outputs = self.session.handle(self.now_ms, input);
        self.take(outputs);
    }

    fn frame(&mut self, text: &str) {
        let outputs = self.session.handle(self.now_ms, Input::Frame(text));
        self.take(outputs);
    }

    fn flush(&mut self) {
        let outputs = self.session.flush(self.now_ms);
        self.take(outputs);
    }

    fn modify(&mut self, list: &str) {
        let (base, new) = (self.query_set, self.query_set + 1);
        self.query_set = new;
        self.sets.insert(new, self.live.clone());
        self.cause = true;
        self.frame(&format!(
            r#"{{"type":"ModifyQuerySet","baseVersion":{base},"newVersion":{new},"modifications":[{list}]}}"#
        ));
    }

    fn add(&mut self) -> String {
        let id = QueryId(self.next_query);
        self.next_query += 1;
        self.live.insert(id);
        add(id)
    }

    fn call(&mut self, kind: &str, bad_args: bool) {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.unanswered.insert(request);
        self.senders.insert(request, self.identities);
        if kind == "Mutation" {
            self.mutations_sent.push_back(request);
        }
        let args = if bad_args { r#"[{"$bad":1}]"# } else { "[{}]" };
        self.frame(&format!(
            r#"{{"type":"{kind}","requestId":{request},"udfPath":"m:m","args":{args}}}"#
        ));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Add(more) => {
                let adds: Vec<String> = (0..=more % 3).map(|_| self.add()).collect();
                self.modify(&adds.join(","));
            }
            Step::Remove(which) => {
                let live: Vec<QueryId> = self.live.iter().copied().collect();
                if let Some(id) = live.get(usize::from(which) % live.len().max(1)) {
                    self.live.remove(id);
                    self.modify(&format!(r#"{{"type":"Remove","queryId":{id}}}"#));
                }
            }
            Step::EmptyModify => self.modify(""),
            Step::AddAndRemove => {
                let add = self.add();
                let id = QueryId(self.next_query - 1);
                self.live.remove(&id);
                self.modify(&format!(r#"{add},{{"type":"Remove","queryId":{id}}}"#));
            }
            Step::Mutation { bad_args } => self.call("Mutation", bad_args),
            Step::Action { bad_args } => self.call("Action", bad_args),
            Step::Authenticate => {
                let base = self.identities;
                self.identities += 1;
                self.frame(&format!(
                    r#"{{"type":"Authenticate","baseVersion":{base},"tokenType":"User","value":"t"}}"#
                ));
            }
            Step::Verify => self.verify(),
            Step::OtherCommit(residue) => {
                self.commit(u32::from(residue) % RESIDUES);
            }
            Step::OwnCommit { announced } => self.own_commit(announced),
            Step::FinishMutation { fails } => self.finish_mutation(fails),
            Step::FinishAction { fails } => self.finish_action(fails),
            Step::FinishRefresh { newest } => self.finish_refresh(newest),
            Step::Drain => {
                if self.undrained > 0 {
                    self.undrained -= 1;
                    self.feed(Input::Drained);
                }
            }
            Step::Tick(ms) => {
                self.now_ms += i64::from(ms);
                self.feed(Input::Alive);
                self.feed(Input::Tick);
            }
            Step::Event => self.frame(r#"{"type":"Event","eventType":"x"}"#),
        }
    }

    fn verify(&mut self) {
        if std::mem::take(&mut self.verifying) {
            self.cause = true;
            self.verified += 1;
            let identity = self.verified;
            self.feed(Input::Verified(Verified::Accepted { identity, expires_at_ms: None }));
        }
    }

    fn commit(&mut self, residue: u32) -> u64 {
        self.head += 1;
        self.writes.push((self.head, residue));
        if self.subscribed.keys().any(|id| id.0 % RESIDUES == residue) {
            self.cause = true;
            self.feed(Input::Changed { ts: Timestamp(self.head) });
        }
        self.head
    }

    fn own_commit(&mut self, announced: bool) {
        let Some(running) = self.running.as_ref().filter(|it| it.committed.is_none()) else {
            return;
        };
        let request = running.request;
        let ts = self.commit(request.0 % RESIDUES);
        let running = self.running.as_mut().expect("it runs on");
        running.committed = Some(ts);
        running.announced = announced;
        if announced {
            self.feed(Input::MutationCommitted { request, ts: Timestamp(ts) });
        }
    }

    fn finish_mutation(&mut self, fails: bool) {
        let Some(running) = &self.running else { return };
        if running.committed.is_none() && !fails {
            self.own_commit(false);
        }
        let RunningMutation { request, committed, .. } = self.running.take().expect("it runs");
        let outcome = match committed {
            Some(ts) => {
                self.answered_ts = self.answered_ts.max(ts);
                let (value, ts) = (String::from("null"), Timestamp(ts));
                MutationOutcome::Success { value, ts, log_lines: vec![] }
            }
            None => MutationOutcome::Failure { error: call_error(), log_lines: vec![] },
        };
        self.feed(Input::MutationDone { request, outcome });
    }

    fn finish_action(&mut self, fails: bool) {
        let Some(request) = self.actions.pop() else { return };
        let outcome = if fails {
            ActionOutcome::Failure { error: call_error(), log_lines: vec![] }
        } else {
            ActionOutcome::Success { value: String::from("null"), log_lines: vec![] }
        };
        self.feed(Input::ActionDone { request, outcome });
    }

    /// First keeps rule 4: the session knows of our own commit if the refresh may show it.
    fn finish_refresh(&mut self, newest: bool) {
        let Some((at_least, head_then)) = self.refresh.take() else { return };
        let ts = if newest { self.head } else { head_then }.max(at_least);
        self.head = self.head.max(ts);
        if let Some(running) = &mut self.running
            && let (Some(committed), false) = (running.committed, running.announced)
            && committed <= ts
        {
            running.announced = true;
            let (request, ts) = (running.request, Timestamp(committed));
            self.feed(Input::MutationCommitted { request, ts });
        }
        let result =
            |id: &QueryId| (*id, Arc::new(QueryResult::success(&self.truth(*id, ts), &[], None)));
        let results = self.subscribed.keys().map(result).collect();
        self.feed(Input::Refreshed { ts: Timestamp(ts), results });
    }

    fn take(&mut self, outputs: Vec<Output<u32>>) {
        for output in outputs {
            match output {
                Output::Send(Outgoing::Message(text)) => self.message(&text),
                Output::Send(Outgoing::Transition(transition)) => self.transition(transition),
                Output::Connected(_) => {}
                Output::Verify(_) => {
                    assert!(!std::mem::replace(&mut self.verifying, true));
                }
                Output::Mutation(call) => {
                    assert!(self.running.is_none(), "one mutation at a time");
                    let request = call.request;
                    assert_eq!(call.identity, self.senders[&request], "as of its receipt");
                    self.running =
                        Some(RunningMutation { request, committed: None, announced: false });
                }
                Output::Action(call) => {
                    assert_eq!(call.identity, self.senders[&call.request], "as of its receipt");
                    self.actions.push(call.request);
                }
                Output::Subscribe(it) => {
                    assert!(self.refresh.is_none(), "no change while a refresh runs");
                    self.subscribed.insert(it.query, it.identity);
                }
                Output::Unsubscribe(query) => {
                    assert!(self.refresh.is_none(), "no change while a refresh runs");
                    assert!(self.subscribed.remove(&query).is_some());
                }
                Output::Refresh { at_least } => {
                    let refresh = (at_least.0, self.head);
                    assert!(self.refresh.replace(refresh).is_none(), "one refresh at a time");
                    assert_eq!(self.undrained, 0, "none while a transition waits");
                    assert!(std::mem::take(&mut self.cause), "no transition without cause");
                    assert!(at_least.0 >= self.answered_ts.max(self.version.ts.0));
                    let identity = self.verified;
                    assert!(self.subscribed.values().all(|subscribed| *subscribed == identity));
                    self.refresh_identity = identity;
                }
                Output::Close(close) => panic!("closed: {close:?}"),
            }
        }
    }

    fn message(&mut self, text: &str) {
        let message: serde_json::Value = serde_json::from_str(text).unwrap();
        match message["type"].as_str().unwrap() {
            "MutationResponse" | "ActionResponse" => {}
            "Ping" => return,
            other => panic!("unexpected {other}"),
        }
        let request = RequestId(message["requestId"].as_u64().unwrap() as u32);
        assert!(self.unanswered.remove(&request), "answered once");
        if message["type"] == "MutationResponse" {
            assert_eq!(self.mutations_sent.pop_front(), Some(request), "in the order received");
            if let Some(ts) = message["ts"].as_str() {
                let ts = Timestamp::from_wire(ts).unwrap();
                assert!(self.version.ts < ts, "answered before a transition shows it");
            }
        }
        self.unfollowed = true;
        self.cause = true;
    }

    fn transition(&mut self, transition: Transition) {
        assert_eq!(transition.start, self.version);
        assert!(transition.end.ts >= self.version.ts);
        assert_eq!(transition.end.identity, self.refresh_identity);
        self.version = transition.end;
        self.undrained += 1;
        if self.version.ts.0 >= self.answered_ts {
            self.unfollowed = false;
        }
        let ids: Vec<QueryId> = transition.modifications.iter().map(|it| it.query()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "ascending, each query once");
        for modification in transition.modifications {
            match modification {
                Modification::Result(id, result) => {
                    let value = result.fragment().split(',').nth(1).unwrap();
                    let value = value.strip_prefix("\"value\":").unwrap().to_owned();
                    let before = self.shown.insert(id, value.clone());
                    assert_ne!(before, Some(value), "an equal result is not sent");
                }
                Modification::Removed(id) => {
                    self.shown.remove(&id);
                }
            }
        }
        let in_version = &self.sets[&self.version.query_set];
        for id in in_version.intersection(&self.live) {
            let truth = self.truth(*id, self.version.ts.0);
            assert_eq!(self.shown.get(id), Some(&truth), "query {id} as of {:?}", self.version);
        }
    }

    fn is_busy(&mut self) -> bool {
        self.flush();
        self.verifying
            || self.running.is_some()
            || !self.actions.is_empty()
            || self.refresh.is_some()
            || self.undrained > 0
    }

    /// Lets everything that is under way finish, and checks that nothing is owed.
    fn settle(&mut self) {
        self.come_to_rest();
        // A client that came back and shows nothing is waited for, and then no longer.
        self.now_ms += REPLAY_WAIT_MS;
        self.come_to_rest();
        assert_eq!(self.unanswered, BTreeSet::new());
        assert!(self.session.unanswered.is_empty(), "nothing is kept of answered requests");
        let held: usize = self.live.iter().map(|id| add(*id).len()).sum();
        assert_eq!(self.session.held_bytes, held, "only queries are held");
        assert!(!self.unfollowed, "a transition follows every answer");
        let announced = (self.query_set, self.identities);
        assert_eq!((self.version.query_set, self.version.identity), announced);
        let shown: BTreeSet<QueryId> = self.shown.keys().copied().collect();
        assert_eq!(shown, self.live);
        for (id, value) in &self.shown {
            assert_eq!(*value, self.truth(*id, self.head), "no update was missed");
        }
    }

    fn come_to_rest(&mut self) {
        let mut rounds = 0;
        while self.is_busy() {
            rounds += 1;
            assert!(rounds < 1000, "it comes to rest");
            self.now_ms += 100;
            self.feed(Input::Alive);
            for step in [
                Step::Verify,
                Step::FinishMutation { fails: false },
                Step::FinishAction { fails: false },
                Step::FinishRefresh { newest: true },
                Step::Drain,
            ] {
                self.step(step);
                self.flush();
            }
        }
    }
}

fn add(id: QueryId) -> String {
    format!(r#"{{"type":"Add","queryId":{id},"udfPath":"q:q","args":[{{}}]}}"#)
}

fn call_error() -> CallError {
    CallError { request_id: String::from("x"), detail: None, data: None }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn invariants_hold_on_every_schedule(again in any::<bool>(), steps in steps()) {
        let mut model = Model::new(again);
        for (step, flush) in steps {
            model.step(step);
            if flush {
                model.flush();
            }
        }
        model.settle();
    }

    #[test]
    fn nothing_makes_it_panic(inputs in prop::collection::vec(junk(), 0..60)) {
        let options =
            Options { client: ClientVersion::UNKNOWN, entropy: [0; 16], show_errors: true, limits: crate::SessionLimits::default() };
        let mut session: Session<u8> = Session::new(options, 0, 0);
        let mut version = Version::START;
        let mut closed = false;
        let mut now_ms = 0;
        for (input, passed_ms) in &inputs {
            now_ms += passed_ms;
            let mut outputs = session.handle(now_ms, junk_input(input));
            outputs.extend(session.flush(now_ms));
            for output in outputs {
                prop_assert!(!closed, "nothing after the close");
                match output {
                    Output::Send(Outgoing::Transition(transition)) => {
                        prop_assert_eq!(transition.start, version);
                        prop_assert!(transition.end.ts >= version.ts);
                        version = transition.end;
                        let text = transition.encode(0);
                        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
                    }
                    Output::Send(Outgoing::Message(text)) => {
                        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
                    }
                    Output::Close(close) => {
                        prop_assert!(close.reason.len() <= 123);
                        closed = true;
                    }
                    Output::Connected(_) | Output::Verify(_) | Output::Mutation(_)
                    | Output::Action(_) | Output::Subscribe(_) | Output::Unsubscribe(_)
                    | Output::Refresh { .. } => {}
                }
            }
            prop_assert_eq!(closed, session.is_closed());
        }
    }
}

/// Inputs in any order, also those that a correct socket task never gives.
#[derive(Clone, Debug)]
enum Junk {
    Frame(String),
    Verified(u8),
    Committed(u32, u64),
    Done(u32, u8, u64),
    Action(u32, u8),
    Changed(u64),
    Refreshed(u64, Vec<u32>),
    Plain(u8),
}

fn junk() -> impl Strategy<Value = (Junk, i64)> {
    let number = 0..4_u32;
    let frame = prop_oneof![
        (number.clone(), number.clone(), number.clone()).prop_map(|(base, step, id)| format!(
            r#"{{"type":"ModifyQuerySet","baseVersion":{base},"newVersion":{},"modifications":[{{"type":"Add","queryId":{id},"udfPath":"a:b","args":[{{}}]}}]}}"#,
            base + step
        )),
        (number.clone(), number.clone()).prop_map(|(base, id)| format!(
            r#"{{"type":"ModifyQuerySet","baseVersion":{base},"newVersion":{},"modifications":[{{"type":"Remove","queryId":{id}}}]}}"#,
            base + 1
        )),
        (number.clone(), any::<bool>()).prop_map(|(id, action)| format!(
            r#"{{"type":"{}","requestId":{id},"udfPath":"a:b","args":[{{}}]}}"#,
            if action { "Action" } else { "Mutation" }
        )),
        number.clone().prop_map(|base| format!(
            r#"{{"type":"Authenticate","baseVersion":{base},"tokenType":"None"}}"#
        )),
        (any::<i64>(), number.clone()).prop_map(|(clock, count)| format!(
            r#"{{"type":"Connect","sessionId":"00000000-0000-4000-8000-000000000001","connectionCount":{count},"clientTs":{clock},"maxObservedTimestamp":"BAAAAAAAAAA="}}"#
        )),
        Just(String::from(r#"{"type":"Event"}"#)),
    ];
    let ts = 0..12_u64;
    let junk = prop_oneof![
        8 => frame.prop_map(Junk::Frame),
        1 => prop::bool::weighted(0.1)
            .prop_flat_map(|any_text| if any_text { ".{0,40}" } else { " \\{\\}" })
            .prop_map(Junk::Frame),
        3 => any::<u8>().prop_map(Junk::Verified),
        2 => (number.clone(), ts.clone()).prop_map(|(id, ts)| Junk::Committed(id, ts)),
        4 => (number.clone(), any::<u8>(), ts.clone()).prop_map(|(id, how, ts)| Junk::Done(id, how, ts)),
        2 => (number.clone(), any::<u8>()).prop_map(|(id, how)| Junk::Action(id, how)),
        3 => ts.clone().prop_map(Junk::Changed),
        6 => (ts, prop::collection::vec(number, 0..4)).prop_map(|(ts, ids)| Junk::Refreshed(ts, ids)),
        4 => any::<u8>().prop_map(Junk::Plain),
    ];
    (junk, prop_oneof![Just(0_i64), 0..20_000_i64])
}

fn junk_input(junk: &Junk) -> Input<'_, u8> {
    match junk {
        Junk::Frame(text) => Input::Frame(text),
        Junk::Verified(0) => Input::Verified(Verified::Rejected { message: String::from("no") }),
        Junk::Verified(how) => {
            let expires_at_ms = (*how > 128).then_some(30_000);
            Input::Verified(Verified::Accepted { identity: *how, expires_at_ms })
        }
        Junk::Committed(id, ts) => {
            Input::MutationCommitted { request: RequestId(*id), ts: Timestamp(*ts) }
        }
        Junk::Done(id, how, ts) => {
            let (value, ts, log_lines) = (String::from("null"), Timestamp(*ts), vec![]);
            let outcome = match how {
                0 => MutationOutcome::System(SystemError::internal("x")),
                1..100 => MutationOutcome::Failure { error: call_error(), log_lines },
                _ => MutationOutcome::Success { value, ts, log_lines },
            };
            Input::MutationDone { request: RequestId(*id), outcome }
        }
        Junk::Action(id, how) => {
            let outcome = match how {
                0 => ActionOutcome::System(SystemError::internal("x")),
                1..100 => ActionOutcome::Failure { error: call_error(), log_lines: vec![] },
                _ => ActionOutcome::Success { value: String::from("1.0"), log_lines: vec![] },
            };
            Input::ActionDone { request: RequestId(*id), outcome }
        }
        Junk::Changed(ts) => Input::Changed { ts: Timestamp(*ts) },
        Junk::Refreshed(ts, ids) => {
            let result = |id: &u32| {
                (QueryId(*id), Arc::new(QueryResult::success(&ts.to_string(), &[], None)))
            };
            let results = ids.iter().map(result).collect();
            Input::Refreshed { ts: Timestamp(*ts), results }
        }
        Junk::Plain(0) => Input::BinaryFrame,
        Junk::Plain(1) => Input::Shutdown,
        Junk::Plain(2) => Input::PeerClosed,
        Junk::Plain(3) => {
            let reason = "é".repeat(100);
            Input::Failed(SystemError::new(ErrorClass::Overloaded, reason, "x"))
        }
        Junk::Plain(4..90) => Input::Tick,
        Junk::Plain(90..120) => Input::Alive,
        Junk::Plain(_) => Input::Drained,
    }
}
