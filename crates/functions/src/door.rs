//! What an action can ask of the server: the seam between `ActionCtx` and the runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use value::validator::Tables;
use value::{DocumentId, FunctionPath, Object, Timestamp, Value};

use crate::error::Result;
use crate::identity::UserIdentity;

/// A future that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How a function came to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A client asked for it.
    #[default]
    Client,
    /// An administrator asked for it.
    Admin,
    /// An action called it.
    Action,
    /// It was scheduled.
    Scheduled,
    /// A cron was due.
    Cron,
    /// Somebody shows its result.
    Live,
}

impl Origin {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Client => "client",
            Origin::Admin => "admin",
            Origin::Action => "action",
            Origin::Scheduled => "scheduled",
            Origin::Cron => "cron",
            Origin::Live => "live",
        }
    }
}

/// Where a call comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parent {
    /// How it came to run.
    pub origin: Origin,
    /// The request at the root, as people find it in error texts and logs.
    pub request: Option<Arc<str>>,
    /// The scheduled job at the root; what it schedules after it was canceled is canceled too.
    pub job: Option<DocumentId>,
    /// How many actions deep the caller is.
    pub depth: usize,
}

impl Parent {
    /// A call that a request from outside asks for.
    pub fn of_request(request: &str) -> Parent {
        Parent { request: Some(Arc::from(request)), ..Parent::default() }
    }
}

/// A call from inside an action.
#[derive(Clone, Debug)]
pub struct DoorCall {
    /// The function; internal ones are allowed.
    pub path: FunctionPath,
    /// Its arguments, not validated yet.
    pub args: Object,
    /// The identity of the action.
    pub identity: Option<Arc<UserIdentity>>,
    /// The action.
    pub parent: Parent,
}

/// What an action can ask of the server. Each call is its own transaction.
pub trait Door: Send + Sync {
    /// Runs a query at the newest durable snapshot.
    fn run_query(&self, call: DoorCall) -> BoxFuture<Result<Value>>;
    /// Runs a mutation; done when it is durable.
    fn run_mutation(&self, call: DoorCall) -> BoxFuture<Result<Value>>;
    /// Runs an action.
    fn run_action(&self, call: DoorCall) -> BoxFuture<Result<Value>>;
    /// Schedules a function at a time; done when that is durable (`scheduler::schedule`).
    fn schedule(&self, at: Timestamp, call: DoorCall) -> BoxFuture<Result<DocumentId>>;
    /// Cancels a scheduled function (`scheduler::cancel`).
    fn cancel(&self, job: DocumentId) -> BoxFuture<Result<()>>;
    /// The time now.
    fn now(&self) -> Timestamp;
    /// Fresh random bytes.
    fn random(&self) -> [u8; 32];
    /// Runs `check` with the tables of the newest durable snapshot.
    fn with_tables(&self, check: &mut dyn FnMut(&dyn Tables));
}
