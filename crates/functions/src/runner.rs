//! Mutations and actions: attempts, turns after a conflict, and answers when they are durable.
//!
//!     begin applied ─► record of the request? ─ yes ─► its answer
//!          │ no
//!        body ─► commit ─ accepted ─► wait for the disk ─► done
//!                  ├ conflict ─► ask for a turn on what was read ─► run again, others keep away
//!                  └ taken back ─► run again
//!
//! A conflict never reaches the client. What a failed body read may not be durable yet either, so its
//! error waits as well.

use std::sync::{Arc, Weak};
use std::time::Duration;

use engine::{CommitError, Committed, Head, Reservation, Source, Transaction, system};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use value::{FunctionPath, InternalId, Interval, Object, Timestamp, Value, json};

use crate::door::Parent;
use crate::durability::Fate;
use crate::error::{Error, Result};
use crate::identity::IdentityAccess;
use crate::jobs::{AfterStep, JobCall, JobOutcome, Step};
use crate::log::{LogLevel, LogLine};
use crate::registry::FunctionKind;
use crate::runtime::{CallEnd, Caller, ClientCall, Done, RequestKey, Runtime, Watched, origin_of};
use crate::work::Work;

/// Attempts after which a mutation is given up: never reached by conflicts, which queue; only by a
/// store that takes back again and again.
pub const ATTEMPTS_MAX: u32 = 64;
/// Records kept of one session. Source: design.md 3.11.
pub const SESSION_RECORDS_MAX: u32 = 1000;
/// Bytes of an internal id that name the session and its identity; the rest is the number of the request.
const SESSION_PREFIX_BYTES: usize = 12;

/// A mutation on its way, from one attempt to the next.
struct Attempt {
    body: Body,
    reservation: Option<Reservation>,
    tries: u32,
    /// For those who watch executions; none of what the system itself writes.
    watched: Option<Watched>,
    /// `None`: there was nothing to run.
    done: Box<dyn FnOnce(Option<CallEnd>) + Send>,
}

/// What an attempt does with its transaction.
enum Body {
    /// Runs a function.
    Call(Call),
    /// Stages what the system itself writes.
    Step(Step),
}

/// A mutation that somebody called.
struct Call {
    call: ClientCall,
    key: Option<RequestKey>,
    parent: Parent,
    around: Option<Around>,
}

/// Steps of the system in the transaction of a function: before it, and after it succeeded.
struct Around {
    before: Step,
    after: AfterStep,
}

impl Runtime {
    /// Runs a mutation; `done` hears of it when it is durable. With a `key` it runs once, however
    /// often it is sent, also over a restart.
    pub fn mutation(
        self: &Arc<Self>,
        call: ClientCall,
        key: Option<RequestKey>,
        parent: Parent,
        done: Done,
    ) {
        if let Err(error) = call.caller.check_may_act() {
            return done(self.failed(error));
        }
        if self.work.is_full() {
            return done(self.overloaded());
        }
        let done = match key {
            Some(key) => match self.join(key, &call, done) {
                Some(done) => done,
                None => return,
            },
            None => done,
        };
        let body = Body::Call(Call { call, key, parent, around: None });
        self.attempt(body, for_client(done));
    }

    /// A request that is sent again while it still runs gets the answer of that run, at the same moment:
    /// no session then shows a commit before the answer. `None`: it joined.
    fn join(self: &Arc<Self>, key: RequestKey, call: &ClientCall, done: Done) -> Option<Done> {
        let run = (key, identity_of(&call.caller));
        {
            let mut running = self.requests.lock();
            if let Some(others) = running.get_mut(&run) {
                others.push(done);
                return None;
            }
            running.insert(run.clone(), Vec::new());
        }
        let joined = Joined { runtime: Arc::downgrade(self), run };
        Some(Box::new(move |end| {
            joined.take().into_iter().for_each(|other| other(end.clone()));
            done(end);
        }))
    }

    /// Runs the mutation of a job or cron, with the steps around it.
    pub(crate) fn job_mutation(
        self: &Arc<Self>,
        job: JobCall,
        done: Box<dyn FnOnce(Option<CallEnd>) + Send>,
    ) {
        let call = ClientCall { path: job.path.to_string(), args: job.args, caller: Caller::ADMIN };
        let around = Some(Around { before: job.before, after: job.after });
        self.attempt(Body::Call(Call { call, key: None, parent: job.parent, around }), done);
    }

    /// Stages `step` and commits it, again after each conflict.
    pub(crate) fn step(self: &Arc<Self>, step: Step, done: Done) {
        self.attempt(Body::Step(step), for_client(done));
    }

    fn attempt(self: &Arc<Self>, body: Body, done: Box<dyn FnOnce(Option<CallEnd>) + Send>) {
        let watched = body.watched(self.now());
        self.spawn(Attempt { body, reservation: None, tries: 0, watched, done }.work());
    }
}

impl Attempt {
    fn work(self) -> Work {
        Box::new(move |runtime| self.run(runtime))
    }

    fn run(mut self, runtime: &Arc<Runtime>) {
        self.tries += 1;
        if self.tries > ATTEMPTS_MAX {
            let error = Error::system("CommitterFullError", "the store does not keep up");
            return self.end(runtime, Some(runtime.failed(error)));
        }
        // Only mutations read what is applied and not yet durable.
        let mut tx = runtime.engine().begin(Head::Applied);
        match self.body.begin(&mut tx) {
            Ok(Begun::Run) => self.run_body(runtime, tx),
            Ok(Begun::Answered(end)) => {
                // It was told of when it ran.
                self.watched = None;
                self.answer(runtime, &tx, Some(end));
            }
            Ok(Begun::Nothing) => self.answer(runtime, &tx, None),
            Err(error) => {
                let end = CallEnd::failed(error, tx.snapshot_ts());
                self.answer(runtime, &tx, Some(end));
            }
        }
    }

    fn run_body(self, runtime: &Arc<Runtime>, tx: Transaction) {
        let (end, mut tx) = self.body.run(runtime, tx);
        let deterministic = end.result.as_ref().err().is_none_or(Error::is_deterministic);
        if !deterministic {
            return self.end(runtime, Some(end));
        }
        let nothing = end.result.is_err() || !tx.has_writes();
        if nothing {
            return self.answer(runtime, &tx, Some(end));
        }
        // Whoever publishes waits until the commit has somebody who waits for it: else a session could
        // show the commit before its answer.
        let registering = runtime.registering.read();
        match runtime.engine().commit(&mut tx, self.reservation.as_ref()) {
            Ok(committed) => {
                let end = CallEnd { ts: committed.ts, ..end };
                self.when_durable(runtime, committed, Some(end));
            }
            Err(refused) => {
                drop(registering);
                self.again(runtime, &tx, refused);
            }
        }
    }

    /// Answers without writing: what was read must be durable first.
    fn answer(self, runtime: &Arc<Runtime>, tx: &Transaction, end: Option<CallEnd>) {
        match tx.as_read_only() {
            Ok(committed) => self.when_durable(runtime, committed, end),
            Err(refused) => self.again(runtime, tx, refused),
        }
    }

    fn when_durable(mut self, runtime: &Arc<Runtime>, committed: Committed, end: Option<CallEnd>) {
        // Given back now: the next in turn need not wait for the disk.
        self.reservation = None;
        let again = Arc::downgrade(runtime);
        runtime.durability.wait(
            committed,
            Box::new(move |fate| match (fate, again.upgrade()) {
                (Fate::Durable, Some(runtime)) => self.end(&runtime, end),
                (Fate::Durable, None) => (self.done)(end),
                (Fate::TakenBack, Some(runtime)) => runtime.spawn(self.work()),
                (Fate::TakenBack, None) => {}
            }),
        );
    }

    fn again(mut self, runtime: &Arc<Runtime>, tx: &Transaction, refused: CommitError) {
        match refused {
            CommitError::Unavailable(why) => {
                let error = Error::system("CommitterFullError", why);
                self.end(runtime, Some(runtime.failed(error)));
            }
            CommitError::Aborted => runtime.spawn(self.work()),
            CommitError::Conflict { .. } | CommitError::Reserved => {
                // Conflicts end by themselves, since turns are taken in order.
                self.tries -= 1;
                let lost = matches!(refused, CommitError::Conflict { .. });
                self.body.count_conflict(runtime);
                match self.reservation.as_ref().filter(|_| lost) {
                    Some(turn) => {
                        turn.extend(&tx.footprint());
                        runtime.work.push_first(self.work());
                    }
                    None => self.queue(runtime, tx),
                }
            }
        }
    }

    fn end(self, runtime: &Arc<Runtime>, end: Option<CallEnd>) {
        if let (Some(watched), Some(end)) = (self.watched, &end) {
            watched.end(runtime, end);
        }
        (self.done)(end);
    }

    /// Runs again when it is this call's turn on everything it touched.
    fn queue(mut self, runtime: &Arc<Runtime>, tx: &Transaction) {
        self.reservation = None;
        let again = Arc::downgrade(runtime);
        runtime.engine().reserve(
            tx.footprint(),
            Box::new(move |turn| {
                self.reservation = Some(turn);
                if let Some(runtime) = again.upgrade() {
                    runtime.work.push_first(self.work());
                }
            }),
        );
    }
}

/// Those who sent a request again while it runs. However the run ends, they are let go.
struct Joined {
    runtime: Weak<Runtime>,
    run: (RequestKey, String),
}

impl Joined {
    fn take(&self) -> Vec<Done> {
        let runtime = self.runtime.upgrade();
        runtime.and_then(|runtime| runtime.requests.lock().remove(&self.run)).unwrap_or_default()
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // Their callbacks are dropped with it, which tells them that there is no answer.
        drop(self.take());
    }
}

/// Whose request it is: one user of one provider, or nobody, or an administrator as one of these. No
/// identifier of a user begins with a NUL: `UserIdentity::token_identifier` has an issuer first.
fn identity_of(caller: &Caller) -> String {
    let user = caller.identity.as_ref().map_or("", |user| &user.token_identifier);
    if caller.admin { format!("\0admin\0{user}") } else { user.to_owned() }
}

/// A client's callback: it always gets an answer.
fn for_client(done: Done) -> Box<dyn FnOnce(Option<CallEnd>) + Send> {
    Box::new(move |end| {
        if let Some(end) = end {
            done(end);
        }
    })
}

/// What an attempt finds before its body.
enum Begun {
    /// The body is to be run.
    Run,
    /// The same request was answered before.
    Answered(CallEnd),
    /// There is nothing to do any more.
    Nothing,
}

impl Body {
    fn watched(&self, now: Timestamp) -> Option<Watched> {
        let Self::Call(call) = self else { return None };
        Some(Watched::new(&call.call, FunctionKind::Mutation, &call.parent, call.request(), now))
    }

    fn count_conflict(&self, runtime: &Runtime) {
        let Self::Call(call) = self else { return };
        let path = FunctionPath::new(&call.call.path).ok();
        if let Some(figures) = path.and_then(|path| runtime.registry().figures(&path).cloned()) {
            figures.lost_conflict();
        }
    }

    fn begin(&self, tx: &mut Transaction) -> Result<Begun> {
        let Self::Call(call) = self else { return Ok(Begun::Run) };
        if let Some(end) = call.recorded(tx)? {
            return Ok(Begun::Answered(end));
        }
        match &call.around {
            Some(around) if !(around.before)(tx)? => Ok(Begun::Nothing),
            Some(_) | None => Ok(Begun::Run),
        }
    }

    fn run(&self, runtime: &Arc<Runtime>, mut tx: Transaction) -> (CallEnd, Transaction) {
        match self {
            Self::Call(call) => call.run(runtime, tx),
            Self::Step(step) => {
                let result = step(&mut tx).map(Value::Boolean);
                if !matches!(result, Ok(Value::Boolean(true))) {
                    // Nothing of it is committed.
                    let ts = tx.snapshot_ts();
                    let fresh = runtime.engine().begin(Head::Applied);
                    return (CallEnd { result, log_lines: Vec::new(), ts }, fresh);
                }
                let ts = tx.snapshot_ts();
                (CallEnd { result, log_lines: Vec::new(), ts }, tx)
            }
        }
    }
}

impl Call {
    fn run(&self, runtime: &Arc<Runtime>, tx: Transaction) -> (CallEnd, Transaction) {
        let ts = tx.snapshot_ts();
        let access = IdentityAccess::Known(self.call.caller.identity.clone());
        let origin = origin_of(&self.parent, &self.call.caller);
        let start = runtime.start(access, &Parent { origin, ..self.parent.clone() });
        let found = start.registry.find(&self.call.path, self.call.caller.admin);
        let function = match found.and_then(|function| {
            function.expect_kind(FunctionKind::Mutation).map(|()| Arc::clone(function))
        }) {
            Ok(function) => function,
            Err(error) => return (CallEnd::failed(error, ts), tx),
        };
        let began = start.now;
        let mut tx = tx;
        if let Some(figures) = start.registry.figures(&function.path) {
            let name = Arc::clone(&figures.name);
            tx.set_source(Source { name, via: origin.as_str(), request: self.request() });
        }
        let ended = runtime.run_body(&function, self.call.args.clone(), start, tx);
        let mut tx = ended.transaction;
        let mut end = CallEnd { result: ended.result, log_lines: ended.log_lines, ts };
        if end.result.is_ok()
            && let Err(error) = self.finish(runtime, &mut tx, &end, began)
        {
            end.result = Err(error);
        }
        (end, tx)
    }

    /// What belongs into the transaction of a function that succeeded.
    fn finish(
        &self,
        runtime: &Arc<Runtime>,
        tx: &mut Transaction,
        end: &CallEnd,
        began: Timestamp,
    ) -> Result<()> {
        if let Some(around) = &self.around {
            let elapsed = runtime.engine().env().clock.now().0.saturating_sub(began.0);
            let outcome = JobOutcome {
                result: end.result.clone(),
                log_lines: end.log_lines.clone(),
                elapsed: Duration::from_nanos(elapsed),
            };
            (around.after)(tx, &outcome)?;
        }
        // Also without effects: sent again later, it might find something to do.
        self.record(tx, end)
    }

    /// What the same request answered before, if it did.
    fn recorded(&self, tx: &mut Transaction) -> Result<Option<CallEnd>> {
        let Some(key) = self.key else { return Ok(None) };
        let identity = self.identity();
        let id = record_id(&key, &identity);
        tx.warm_system(&system::SESSION_REQUESTS, session_ids(&key, &identity))?;
        let Some((ts, record)) = tx.version_in_system(&system::SESSION_REQUESTS, id)? else {
            return Ok(None);
        };
        let text = |name: &str| record.body().get(name).and_then(Value::as_str);
        // A record answers only the identity that made it.
        if text("identity") != Some(&identity) {
            return Ok(None);
        }
        let result = text("result").and_then(|result| json::parse(result).ok());
        let result = result.ok_or_else(|| {
            Error::system("InternalServerError", "the record of a request cannot be read")
        })?;
        let lines = record.body().get("logLines").and_then(Value::as_array).unwrap_or_default();
        let log_lines = lines.iter().filter_map(Value::as_str).map(recorded_line).collect();
        Ok(Some(CallEnd { result: Ok(result), log_lines, ts }))
    }

    /// Writes down the answer, in the transaction that it answers.
    fn record(&self, tx: &mut Transaction, end: &CallEnd) -> Result<()> {
        let (Some(key), Ok(result)) = (self.key, &end.result) else { return Ok(()) };
        let lines: Vec<Value> =
            end.log_lines.iter().map(|line| Value::from(line.to_text())).collect();
        let identity = self.identity();
        let id = |request| record_id(&RequestKey { request, ..key }, &identity);
        let body = value::object! {
            "identity" => identity.as_str(),
            "result" => json::to_string(result),
            "logLines" => lines,
        };
        put_record(tx, id(key.request), Some(body))?;
        if let Some(old) = key.request.checked_sub(SESSION_RECORDS_MAX) {
            put_record(tx, id(old), None)?;
        }
        Ok(())
    }

    /// The request, as people find it in error texts and logs.
    fn request(&self) -> Option<Arc<str>> {
        let of_session =
            |key: RequestKey| format!("{}/{}", Uuid::from_bytes(key.session), key.request);
        let given = self.parent.request.clone();
        given.or_else(|| self.key.map(|key| Arc::from(of_session(key))))
    }

    fn identity(&self) -> String {
        identity_of(&self.call.caller)
    }
}

/// Where the record of a request is: twelve bytes of its session and identity, four of the request. So
/// whoever learns of somebody else's session neither reads nor replaces what is recorded of it.
fn record_id(key: &RequestKey, identity: &str) -> InternalId {
    let mut id = [0; 16];
    id[..SESSION_PREFIX_BYTES].copy_from_slice(&session_prefix(key, identity));
    id[SESSION_PREFIX_BYTES..].copy_from_slice(&key.request.to_be_bytes());
    InternalId(id)
}

fn session_ids(key: &RequestKey, identity: &str) -> Interval {
    Interval::prefix(&session_prefix(key, identity))
}

fn session_prefix(key: &RequestKey, identity: &str) -> [u8; SESSION_PREFIX_BYTES] {
    let hash = Sha256::new().chain_update(key.session).chain_update(identity).finalize();
    let mut prefix = [0; SESSION_PREFIX_BYTES];
    prefix.copy_from_slice(&hash[..SESSION_PREFIX_BYTES]);
    prefix
}

/// Writes, replaces or removes a record.
fn put_record(tx: &mut Transaction, id: InternalId, body: Option<Object>) -> Result<()> {
    let table = &system::SESSION_REQUESTS;
    let there = tx.version_in_system(table, id)?.is_some();
    let document = value::DocumentId { table: table.number(), internal: id };
    match (there, body) {
        (true, Some(body)) => tx.replace(document, body)?,
        (true, None) => tx.delete(document)?,
        (false, Some(body)) => {
            tx.insert_system_with_id(table, id, body)?;
        }
        (false, None) => {}
    }
    Ok(())
}

/// A line as it was recorded: level and text in one.
fn recorded_line(line: &str) -> LogLine {
    let levels = [LogLevel::Debug, LogLevel::Info, LogLevel::Log, LogLevel::Warn, LogLevel::Error];
    let split = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let found = split.and_then(|(word, text)| {
        levels.into_iter().find(|level| level.as_str() == word).map(|level| (level, text))
    });
    let (level, text) = found.unwrap_or((LogLevel::Log, line));
    LogLine {
        level,
        text: text.to_owned(),
        truncated: false,
        ts: Timestamp(0),
        system_code: None,
        function: None,
    }
}

/// How long records are kept. Source: design.md 3.11.
pub const SESSION_RECORDS_KEPT: Duration = Duration::from_secs(14 * 24 * 3600);
/// Records looked at in one transaction.
const FORGET_BATCH: usize = 500;

impl Runtime {
    /// Deletes records of requests that are older than [`SESSION_RECORDS_KEPT`], walking through all of
    /// them, a batch at each call.
    pub(crate) async fn forget_old_requests(self: &Arc<Self>) -> Result<()> {
        let kept = u64::try_from(SESSION_RECORDS_KEPT.as_nanos()).unwrap_or(u64::MAX);
        let horizon = Timestamp(self.engine().env().clock.now().0.saturating_sub(kept));
        let from = self.forgotten_up_to.lock().clone();
        let (old, next) = self.old_requests(from, horizon)?;
        *self.forgotten_up_to.lock() = next;
        if old.is_empty() {
            return Ok(());
        }
        let step: Step = Arc::new(move |tx| {
            old.iter().try_for_each(|id| put_record(tx, *id, None)).map(|()| true)
        });
        self.transact(step).await.map(|_| ())
    }

    /// Records in the next batch that were made before `horizon`, and where the batch after it begins.
    fn old_requests(
        &self,
        from: Vec<u8>,
        horizon: Timestamp,
    ) -> Result<(Vec<InternalId>, Vec<u8>)> {
        let mut tx = self.engine().begin(Head::Durable);
        let by_id = Arc::clone(tx.system_table(&system::SESSION_REQUESTS).by_id());
        let rest = Interval { start: from, end: None };
        let mut scan = tx.scan(&by_id, rest, engine::Order::Asc);
        let (mut old, mut next) = (Vec::new(), Vec::new());
        for _ in 0..FORGET_BATCH {
            let Some(row) = tx.next(&mut scan)? else { return Ok((old, Vec::new())) };
            next = row.key.to_vec();
            next.push(0);
            if row.document.creation_time() < horizon.as_ms_f64() {
                old.push(row.document.id().internal);
            }
        }
        Ok((old, next))
    }
}
