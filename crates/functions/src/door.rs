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

/// Where a call comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parent {
    /// The scheduled job at the root; what it schedules after it was canceled is canceled too.
    pub job: Option<DocumentId>,
    /// How many actions deep the caller is.
    pub depth: usize,
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
