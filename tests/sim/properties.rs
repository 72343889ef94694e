//! What must hold: at every message that a client reads, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use tests::client::{Client, Outcome, Seen, Who};
use tests::world::{Fresh, Judge, World};
use value::Timestamp;

use crate::faults::Faults;
use crate::model::{Done, Model, plain};

/// A query as a client showed it at a timestamp.
struct Shown {
    ts: Timestamp,
    path: String,
    args: Json,
    who: Who,
    outcome: Outcome,
}

/// What was seen, to be compared at the end.
#[derive(Default)]
pub(crate) struct Properties {
    done: Vec<Done>,
    /// Arguments and errors, and what was on disk when they were told.
    failed: Vec<(Json, Outcome, Timestamp)>,
    shown: Vec<Shown>,
    judge: Option<(Timestamp, Judge)>,
    /// Where each page ends, by client and query.
    ends: BTreeMap<(String, u32), Json>,
}

impl Properties {
    /// A client has read a message.
    pub(crate) fn seen(&mut self, world: &World, client: &Client, seen: &Seen, faults: &Faults) {
        match seen {
            Seen::Transition { ts, .. } => {
                assert!(*ts <= world.on_disk(), "a transition shows what is not on disk");
                self.shows(world, client, *ts);
                self.pages_keep_their_ends(client);
            }
            Seen::Answer { call, who, outcome, ts, resent, shown, .. } => {
                let (path, args) = call.as_ref().clone();
                match (outcome, ts) {
                    (Outcome::Value(result), Some(ts)) => {
                        assert!(*ts <= world.on_disk(), "an answer of what is not on disk");
                        let (ts, who, result) = (*ts, who.clone(), result.clone());
                        let done = Done { ts, path, args, who, result };
                        assert!(!shown || *resent || !done.wrote(), "shown before its answer");
                        self.done.push(done);
                    }
                    (outcome, _) => {
                        assert_eq!(path, "counters:fail", "only that one may fail: {outcome:?}");
                        self.failed.push((args, outcome.clone(), world.on_disk()));
                    }
                }
            }
            Seen::Closed(code, reason) => {
                let known = faults.close_reasons().any(|known| reason.starts_with(known));
                assert!(known, "{}: closed with {code:?} {reason:?}", client.name);
            }
            Seen::AnsweredAgain { outcome, ts, before: (before, first), path, .. } => {
                let same = outcome == first && *ts == Some(*before);
                assert!(same, "{path}: another answer, {outcome:?} {first:?}");
            }
            Seen::Ping => {}
            Seen::AuthError { .. } | Seen::FatalError(_) => panic!("{}: {seen:?}", client.name),
        }
    }

    /// A page that runs again ends where it ended first, also after a reconnect, so that no row falls
    /// between two pages.
    fn pages_keep_their_ends(&mut self, client: &Client) {
        for (id, query) in &client.queries {
            let Some(Outcome::Value(value)) = &query.result else { continue };
            let Some(end) = value.get("continueCursor") else { continue };
            let first = self.ends.entry((client.name.clone(), *id)).or_insert_with(|| end.clone());
            assert_eq!(first, end, "{}: page {id} ends elsewhere", client.name);
        }
    }

    /// Everything a client shows is what a run from scratch gives at `ts`, under its identity.
    pub(crate) fn shows(&mut self, world: &World, client: &Client, ts: Timestamp) {
        let head = world.on_disk();
        if self.judge.as_ref().is_none_or(|(made_at, _)| *made_at != head) {
            self.judge = Some((head, world.judge()));
        }
        let Some((_, judge)) = &self.judge else { return };
        let who = client.shown_to();
        for (id, query) in &client.queries {
            let Some(outcome) = &query.result else { continue };
            let caller = who.caller();
            let journal = query.journal.as_deref();
            let fresh = judge.run(ts, &query.path, &query.args, &caller, journal);
            let expected = match fresh {
                Fresh::Value(value) => Outcome::Value(value),
                Fresh::Failed(text, data) => Outcome::Failed(text, data),
                Fresh::TooOld => continue,
            };
            if *outcome != expected {
                explain(world, client, query, ts);
            }
            assert_eq!(
                *outcome, expected,
                "{}: query {id}, {} {}, is not what a run at {ts} gives to {who:?}",
                client.name, query.path, query.args
            );
            self.shown.push(Shown {
                ts,
                path: query.path.clone(),
                args: query.args.clone(),
                who: who.clone(),
                outcome: outcome.clone(),
            });
        }
    }

    /// Whether every answered schedule has run; none has run twice, and nothing that nobody scheduled.
    pub(crate) fn jobs_ran(&self, world: &World) -> bool {
        let args = serde_json::json!([{ "table": "ticks" }]);
        let judge = world.judge();
        let ticks = judge.run(judge.head(), "tables:all", &args, &Who::Nobody.caller(), None);
        let Fresh::Value(Json::Array(ticks)) = ticks else { panic!("{ticks:?}") };
        let ran: BTreeSet<&str> = ticks.iter().map(|tick| tick["name"].as_str().unwrap()).collect();
        assert_eq!(ran.len(), ticks.len(), "a job ran twice");
        let later = self.done.iter().filter(|done| done.path == "jobs:later");
        let due: BTreeSet<&str> =
            later.map(|done| done.args[0]["name"].as_str().unwrap()).collect();
        ran.is_superset(&due)
    }

    /// What was answered is what a serial replay in the order of timestamps gives, everything is there
    /// once, and everything that was shown is the state of its timestamp.
    pub(crate) fn replay(&mut self) {
        self.done.sort_by_key(Done::order);
        self.shown.sort_by_key(|shown| shown.ts);
        let mut model = Model::new();
        let mut done = self.done.iter().peekable();
        for shown in &self.shown {
            while let Some(next) = done.next_if(|done| done.ts <= shown.ts) {
                model.apply(next);
            }
            if let Some(expected) = model.query(&shown.path, &shown.args, &shown.who) {
                assert_eq!(
                    plain(&shown.outcome),
                    expected,
                    "{} {} was shown at {}, the model differs",
                    shown.path,
                    shown.args,
                    shown.ts
                );
            }
        }
        for next in done {
            model.apply(next);
        }
        for (args, outcome, on_disk) in &self.failed {
            let Outcome::Failed(_, Some(data)) = outcome else { panic!("{outcome:?}") };
            let value = data["value"].as_f64().expect("a number") as i64;
            let name = args[0]["name"].as_str().expect("a name");
            let since = model.had.get(name).and_then(|had| had.get(&value));
            let was = since.is_some_and(|since| since <= on_disk);
            assert!(value == 0 || was, "an error told {value} of {name}, which was not on disk");
        }
    }
}

/// Prints what the server knows of a query that shows the wrong thing.
fn explain(world: &World, client: &Client, query: &tests::client::Shown, ts: Timestamp) {
    let args = value::json::from_json(query.args.clone()).expect("arguments are values");
    let value::Value::Array(args) = args else { return };
    let caller = client.shown_to().caller();
    let call = functions::ClientCall { path: query.path.clone(), args, caller };
    let done =
        |end: functions::CallEnd| println!("the server gives {:?} at {}", end.result, end.ts);
    world.runtime.query(call, Some(ts), Box::new(done));
    while world.runtime.run_work(0) {}
    println!("durable {}, on disk {}", world.runtime.engine().durable(), world.on_disk());
    for entry in world.runtime.live().entries() {
        if *entry.path == *query.path {
            println!("{entry:?}");
        }
    }
}
