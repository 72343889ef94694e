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

use std::sync::Arc;

use engine::{CommitError, Committed, Head, Reservation, Transaction, system};
use sha2::{Digest as _, Sha256};
use value::{InternalId, Interval, Object, Timestamp, Value, json};

use crate::door::Parent;
use crate::durability::Fate;
use crate::error::{Error, Result};
use crate::identity::IdentityAccess;
use crate::log::{LogLevel, LogLine};
use crate::registry::{FunctionDef, FunctionKind};
use crate::runtime::{CallEnd, ClientCall, Done, RequestKey, Runtime};
use crate::work::Work;

/// Attempts after which a mutation is given up: never reached by conflicts, which queue; only by a
/// store that takes back again and again.
pub const ATTEMPTS_MAX: u32 = 64;
/// Records kept of one session. Source: design.md 3.11.
pub const SESSION_RECORDS_MAX: u32 = 1000;
/// Bytes of an internal id that name the session; the rest is the number of the request.
const SESSION_PREFIX_BYTES: usize = 12;

/// A mutation on its way, from one attempt to the next.
struct Attempt {
    call: ClientCall,
    key: Option<RequestKey>,
    parent: Parent,
    reservation: Option<Reservation>,
    tries: u32,
    done: Done,
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
        if self.work.is_full() {
            return done(self.overloaded());
        }
        let attempt = Attempt { call, key, parent, reservation: None, tries: 0, done };
        self.spawn(attempt.work());
    }

    /// Runs a mutation on behalf of the system: `body` stages it on a transaction, as often as needed,
    /// and `done` hears the result when it is durable.
    pub(crate) fn system_mutation<R: Send + 'static>(
        self: &Arc<Self>,
        body: SystemBody<R>,
        done: Box<dyn FnOnce(Result<(R, Timestamp)>) + Send>,
    ) {
        self.spawn(Box::new(move |runtime| {
            SystemAttempt { body, done, reservation: None, tries: 0 }.run(runtime);
        }));
    }

    /// Begins at the newest applied state, which only mutations may read.
    fn begin_mutation(&self) -> Transaction {
        self.engine().begin(Head::Applied)
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
            return (self.done)(runtime.failed(error));
        }
        let mut tx = runtime.begin_mutation();
        match self.recorded(&mut tx) {
            Ok(None) => self.run_body(runtime, tx),
            Ok(Some(end)) => self.answer(runtime, &mut tx, end),
            Err(error) => (self.done)(runtime.failed(error)),
        }
    }

    fn run_body(self, runtime: &Arc<Runtime>, mut tx: Transaction) {
        let access = IdentityAccess::Known(self.call.caller.identity.clone());
        let start = runtime.start(access, &self.parent);
        let function = match start.registry.find(&self.call.path, self.call.caller.admin) {
            Ok(function) => Arc::clone(function),
            Err(error) => {
                let end =
                    CallEnd { result: Err(error), log_lines: Vec::new(), ts: tx.snapshot_ts() };
                return self.answer(runtime, &mut tx, end);
            }
        };
        if let Err(error) = function.expect_kind(FunctionKind::Mutation) {
            let end = CallEnd { result: Err(error), log_lines: Vec::new(), ts: tx.snapshot_ts() };
            return self.answer(runtime, &mut tx, end);
        }
        self.run_function(runtime, &function, start, tx);
    }

    fn run_function(
        self,
        runtime: &Arc<Runtime>,
        function: &FunctionDef,
        start: crate::call::Start,
        tx: Transaction,
    ) {
        let ended = runtime.run_body(function, self.call.args.clone(), start, tx);
        let mut tx = ended.transaction;
        let mut end =
            CallEnd { result: ended.result, log_lines: ended.log_lines, ts: tx.snapshot_ts() };
        if let Err(error) = &end.result {
            if !error.is_deterministic() {
                return (self.done)(end);
            }
            return self.answer(runtime, &mut tx, end);
        }
        if tx.has_writes()
            && let Err(error) = self.record(&mut tx, &end)
        {
            end.result = Err(error);
            return self.answer(runtime, &mut tx, end);
        }
        match runtime.engine().commit(&mut tx, self.reservation.as_ref()) {
            Ok(committed) => {
                end.ts = committed.ts;
                self.when_durable(runtime, committed, end);
            }
            Err(refused) => self.again(runtime, &tx, refused),
        }
    }

    /// Answers without writing: what was read must be durable first.
    fn answer(mut self, runtime: &Arc<Runtime>, tx: &mut Transaction, end: CallEnd) {
        // The turn, if there is one, protects nothing any more.
        self.reservation = None;
        let fresh = tx.as_read_only();
        match fresh {
            Ok(committed) => self.when_durable(runtime, committed, end),
            Err(refused) => self.again(runtime, tx, refused),
        }
    }

    fn when_durable(mut self, runtime: &Arc<Runtime>, committed: Committed, end: CallEnd) {
        // Given back now: the next in turn need not wait for the disk.
        self.reservation = None;
        let again = Arc::downgrade(runtime);
        runtime.durability.wait(
            committed,
            Box::new(move |fate| match fate {
                Fate::Durable => (self.done)(end),
                Fate::TakenBack => {
                    if let Some(runtime) = again.upgrade() {
                        runtime.spawn(self.work());
                    }
                }
            }),
        );
    }

    fn again(mut self, runtime: &Arc<Runtime>, tx: &Transaction, refused: CommitError) {
        match refused {
            CommitError::Unavailable(why) => {
                (self.done)(runtime.failed(Error::system("CommitterFullError", why)));
            }
            CommitError::Aborted => runtime.spawn(self.work()),
            CommitError::Conflict { .. } | CommitError::Reserved => {
                // Conflicts end by themselves, since turns are taken in order.
                self.tries -= 1;
                match (&self.reservation, refused) {
                    (Some(turn), CommitError::Conflict { .. }) => {
                        turn.extend(&tx.footprint());
                        runtime.work.push_first(self.work());
                    }
                    _ => self.queue(runtime, tx),
                }
            }
        }
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

    /// What the same request answered before, if it did.
    fn recorded(&self, tx: &mut Transaction) -> Result<Option<CallEnd>> {
        let Some(key) = self.key else { return Ok(None) };
        let id = record_id(&key);
        tx.warm_system(&system::SESSION_REQUESTS, session_ids(&key))?;
        let Some((ts, record)) = tx.version_in_system(&system::SESSION_REQUESTS, id)? else {
            return Ok(None);
        };
        let text = |name: &str| record.body().get(name).and_then(Value::as_str);
        // A record answers only the identity that made it.
        if text("identity") != Some(self.identity().as_str()) {
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
        let body = value::object! {
            "identity" => self.identity(),
            "result" => json::to_string(result),
            "logLines" => lines,
        };
        put_record(tx, record_id(&key), Some(body))?;
        if let Some(request) = key.request.checked_sub(SESSION_RECORDS_MAX) {
            put_record(tx, record_id(&RequestKey { request, ..key }), None)?;
        }
        Ok(())
    }

    fn identity(&self) -> String {
        let user = self.call.caller.identity.as_ref();
        user.map(|user| user.token_identifier.clone()).unwrap_or_default()
    }
}

/// What a system mutation does on each attempt.
pub(crate) type SystemBody<R> = Box<dyn FnMut(&Arc<Runtime>, &mut Transaction) -> Result<R> + Send>;

struct SystemAttempt<R> {
    body: SystemBody<R>,
    done: Box<dyn FnOnce(Result<(R, Timestamp)>) + Send>,
    reservation: Option<Reservation>,
    tries: u32,
}

impl<R: Send + 'static> SystemAttempt<R> {
    fn run(mut self, runtime: &Arc<Runtime>) {
        self.tries += 1;
        if self.tries > ATTEMPTS_MAX {
            let error = Error::system("CommitterFullError", "the store does not keep up");
            return (self.done)(Err(error));
        }
        let mut tx = runtime.begin_mutation();
        let result = match (self.body)(runtime, &mut tx) {
            Ok(result) => result,
            Err(error) => return (self.done)(Err(error)),
        };
        match runtime.engine().commit(&mut tx, self.reservation.as_ref()) {
            Ok(committed) => self.when_durable(runtime, committed, result),
            Err(CommitError::Unavailable(why)) => {
                (self.done)(Err(Error::system("CommitterFullError", why)));
            }
            Err(CommitError::Aborted) => runtime.spawn(Box::new(move |rt| self.run(rt))),
            Err(CommitError::Conflict { .. } | CommitError::Reserved) => self.queue(runtime, &tx),
        }
    }

    fn when_durable(mut self, runtime: &Arc<Runtime>, committed: Committed, result: R) {
        self.reservation = None;
        let again = Arc::downgrade(runtime);
        runtime.durability.wait(
            committed,
            Box::new(move |fate| match fate {
                Fate::Durable => (self.done)(Ok((result, committed.ts))),
                Fate::TakenBack => {
                    if let Some(runtime) = again.upgrade() {
                        runtime.spawn(Box::new(move |rt| self.run(rt)));
                    }
                }
            }),
        );
    }

    fn queue(mut self, runtime: &Arc<Runtime>, tx: &Transaction) {
        self.tries -= 1;
        self.reservation = None;
        let again = Arc::downgrade(runtime);
        runtime.engine().reserve(
            tx.footprint(),
            Box::new(move |turn| {
                self.reservation = Some(turn);
                if let Some(runtime) = again.upgrade() {
                    runtime.work.push_first(Box::new(move |rt| self.run(rt)));
                }
            }),
        );
    }
}

/// Where the record of a request is: twelve bytes of the session, four of the request.
fn record_id(key: &RequestKey) -> InternalId {
    let mut id = [0; 16];
    id[..SESSION_PREFIX_BYTES].copy_from_slice(&session_prefix(key));
    id[SESSION_PREFIX_BYTES..].copy_from_slice(&key.request.to_be_bytes());
    InternalId(id)
}

fn session_ids(key: &RequestKey) -> Interval {
    Interval::prefix(&session_prefix(key))
}

fn session_prefix(key: &RequestKey) -> [u8; SESSION_PREFIX_BYTES] {
    let hash = Sha256::digest(key.session);
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
