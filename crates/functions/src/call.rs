//! The state of one run of a query or mutation, shared with every function it calls.
//!
//!     Start + Transaction ──► Call ──(invoke: body, nested calls)──► End
//!
//! A call notes what it observed: a run that read identity, time or randomness is not the same for
//! everybody and for ever. Interior mutability stays on one thread: a call is not `Sync`.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use engine::Transaction;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use value::{FunctionPath, Timestamp, Value};

use crate::door::Parent;
use crate::error::{Error, Result};
use crate::identity::{IdentityAccess, UserIdentity};
use crate::instance::{InstanceSecret, NONCE_BYTES, Purpose};
use crate::invoke;
use crate::log::{self, LogLevel, LogLine, LogLines};
use crate::registry::{FunctionDef, Registry};

/// Deepest nesting of `run_query` and `run_mutation`. Source: spec/data-model.md 17.
pub const CALL_DEPTH_MAX: usize = 8;

/// The code of the error that a body gets when it asks for a withheld identity.
pub const IDENTITY_WITHHELD: &str = "IdentityWithheld";

/// What a run starts with, besides its transaction.
#[derive(Clone)]
pub struct Start {
    /// Functions that can be called.
    pub registry: Arc<Registry>,
    /// Seals cursors and journals.
    pub secret: Arc<InstanceSecret>,
    /// Name of the deployment; part of every cursor.
    pub instance_name: Arc<str>,
    /// Who calls.
    pub identity: IdentityAccess,
    /// The time that the function sees throughout.
    pub now: Timestamp,
    /// Seed of the function's randomness.
    pub seed: [u8; 32],
    /// What the same live query gave out when it ran before.
    pub journal: Option<String>,
    /// The scheduled job that this run belongs to: at depth 0 directly, else through actions.
    pub parent: Parent,
}

/// What a run looked at besides its snapshot and arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// `ctx.auth()` was asked.
    pub identity: bool,
    /// `ctx.now()` was asked.
    pub time: bool,
    /// Random numbers were drawn.
    pub random: bool,
}

/// What a run ends with.
pub struct End {
    /// The value, or why there is none.
    pub result: Result<Value>,
    /// The transaction, with everything that was read and staged.
    pub transaction: Transaction,
    /// What the function and those it called logged.
    pub log_lines: Vec<LogLine>,
    /// What was looked at.
    pub observed: Observed,
    /// The function asked for an identity that was withheld: the result means nothing.
    pub identity_withheld: bool,
    /// What the live query must be given when it runs again.
    pub journal: Option<String>,
}

/// The state of one run.
pub(crate) struct Call {
    start: Start,
    transaction: RefCell<Transaction>,
    random: RefCell<ChaCha12Rng>,
    log: RefCell<LogLines>,
    observed: Cell<Observed>,
    identity_withheld: Cell<bool>,
    /// End cursor of the paginated query of the outermost function, opened.
    journal_in: Option<Vec<u8>>,
    journal_out: RefCell<Option<String>>,
}

/// One function of a call: the outermost one, or one that it called.
pub(crate) struct Frame<'a> {
    pub(crate) call: &'a Call,
    pub(crate) function: &'a FunctionPath,
    pub(crate) depth: usize,
    /// Only one paginated query per function.
    pub(crate) paginated: Cell<bool>,
}

/// Runs a query or mutation on `transaction`. Never panics through: a panic of the body is the
/// error of this call. The caller commits, or drops, the transaction in the result.
pub fn run(
    function: &FunctionDef,
    args: Vec<Value>,
    start: Start,
    transaction: Transaction,
) -> End {
    let mut call = Call::new(start, transaction);
    let result = call.open_journal().and_then(|()| {
        let frame =
            Frame { call: &call, function: &function.path, depth: 0, paginated: Cell::new(false) };
        invoke::invoke(&frame, function, args)
    });
    call.end(result)
}

impl Call {
    fn new(start: Start, transaction: Transaction) -> Call {
        Call {
            random: RefCell::new(ChaCha12Rng::from_seed(start.seed)),
            transaction: RefCell::new(transaction),
            start,
            log: RefCell::default(),
            observed: Cell::default(),
            identity_withheld: Cell::default(),
            journal_in: None,
            journal_out: RefCell::default(),
        }
    }

    fn open_journal(&mut self) -> Result<()> {
        if let Some(journal) = &self.start.journal {
            let opened = self.start.secret.open(Purpose::QueryJournal, journal);
            self.journal_in = Some(opened.ok_or_else(crate::paginate::invalid_cursor)?);
        }
        Ok(())
    }

    fn end(self, result: Result<Value>) -> End {
        let identity_withheld = self.identity_withheld.get();
        let result = if identity_withheld { Err(withheld()) } else { result };
        let transaction = self.transaction.into_inner();
        let mut log = self.log.into_inner();
        for (code, text) in log::usage_warnings(&transaction.usage(), &transaction.limits()) {
            log.push(LogLine {
                level: LogLevel::Warn,
                text,
                truncated: false,
                ts: self.start.now,
                system_code: Some(format!("warning:{code}")),
                function: None,
            });
        }
        End {
            result,
            identity_withheld,
            transaction,
            log_lines: log.take(),
            observed: self.observed.get(),
            journal: self.journal_out.into_inner(),
        }
    }

    /// Runs a step on the transaction. `step` must not call back into user code.
    pub(crate) fn with<R>(&self, step: impl FnOnce(&mut Transaction) -> R) -> R {
        step(&mut self.transaction.borrow_mut())
    }

    pub(crate) fn start(&self) -> &Start {
        &self.start
    }

    /// The identity, if this run may know it.
    pub(crate) fn identity(&self) -> Result<Option<Arc<UserIdentity>>> {
        self.observe(|observed| observed.identity = true);
        match &self.start.identity {
            IdentityAccess::Known(identity) => Ok(identity.clone()),
            IdentityAccess::Withheld => {
                self.identity_withheld.set(true);
                Err(withheld())
            }
        }
    }

    /// The fixed time, noted as observed.
    pub(crate) fn now(&self) -> Timestamp {
        self.observe(|observed| observed.time = true);
        self.start.now
    }

    /// Random bytes, noted as observed.
    pub(crate) fn fill_random(&self, bytes: &mut [u8]) {
        self.observe(|observed| observed.random = true);
        self.random.borrow_mut().fill_bytes(bytes);
    }

    /// Adds a log line of `frame`'s function.
    pub(crate) fn log(&self, frame: &Frame<'_>, level: LogLevel, text: String) {
        let function = (frame.depth > 0).then(|| frame.function.to_string());
        self.log.borrow_mut().push(LogLine {
            level,
            text,
            truncated: false,
            ts: self.start.now,
            system_code: None,
            function,
        });
    }

    /// The journal's end position for a paginated query of `frame`.
    pub(crate) fn journal_in(&self, frame: &Frame<'_>) -> Option<&[u8]> {
        if frame.depth == 0 { self.journal_in.as_deref() } else { None }
    }

    /// Notes where the paginated query of `frame` ended.
    pub(crate) fn set_journal(&self, frame: &Frame<'_>, end: &[u8]) {
        if frame.depth > 0 {
            return;
        }
        let mut nonce = [0; NONCE_BYTES];
        // Not an observation: the function never sees it.
        self.random.borrow_mut().fill_bytes(&mut nonce);
        let sealed = self.start.secret.seal(Purpose::QueryJournal, nonce, end);
        *self.journal_out.borrow_mut() = Some(sealed);
    }

    fn observe(&self, note: impl FnOnce(&mut Observed)) {
        let mut observed = self.observed.get();
        note(&mut observed);
        self.observed.set(observed);
    }
}

fn withheld() -> Error {
    Error::system(IDENTITY_WITHHELD, "this run is shared by callers of any identity")
}
