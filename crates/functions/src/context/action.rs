//! The context of an action: no transaction, calls through the door.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use value::{DocumentId, FunctionPath, Object, Timestamp, Value};

use crate::document::Id;
use crate::door::{Door, DoorCall, Origin, Parent};
use crate::error::{Error, Result};
use crate::identity::UserIdentity;
use crate::log::{LogLevel, LogLine, LogLines};
use crate::scheduler::{ScheduledFunction, run_time_after, run_time_at};

/// Deepest nesting of actions in actions. Ours: it bounds what one call can keep alive.
const ACTION_DEPTH_MAX: usize = 64;

/// The context of an action. Cheap to clone.
#[derive(Clone)]
pub struct ActionCtx {
    shared: Arc<Shared>,
}

struct Shared {
    door: Arc<dyn Door>,
    identity: Option<Arc<UserIdentity>>,
    parent: Parent,
    log: Mutex<LogLines>,
}

/// Who calls an action.
#[derive(Clone)]
pub struct ActionAuth {
    identity: Option<Arc<UserIdentity>>,
}

impl ActionAuth {
    /// The signed-in user; None: nobody. Never fails: it is as in the other contexts.
    pub fn get_user_identity(&self) -> Result<Option<Arc<UserIdentity>>> {
        Ok(self.identity.clone())
    }
}

/// Functions to run later.
#[derive(Clone)]
pub struct ActionScheduler {
    ctx: ActionCtx,
}

impl ActionCtx {
    /// The context of one run of an action.
    pub fn new(door: Arc<dyn Door>, identity: Option<Arc<UserIdentity>>, parent: Parent) -> Self {
        let shared = Shared { door, identity, parent, log: Mutex::default() };
        ActionCtx { shared: Arc::new(shared) }
    }

    /// Who calls.
    pub fn auth(&self) -> ActionAuth {
        ActionAuth { identity: self.shared.identity.clone() }
    }

    /// Milliseconds since the epoch, now.
    pub fn now(&self) -> f64 {
        (self.shared.door.now().0 / 1_000_000) as f64
    }

    /// Fresh random bytes.
    pub fn random(&self) -> [u8; 32] {
        self.shared.door.random()
    }

    /// Writes a log line.
    pub fn log(&self, text: impl Into<String>) {
        self.log_at(LogLevel::Log, text);
    }

    /// Writes a log line of a level.
    pub fn log_at(&self, level: LogLevel, text: impl Into<String>) {
        self.shared.log.lock().push(LogLine {
            level,
            text: text.into(),
            truncated: false,
            ts: self.shared.door.now(),
            system_code: None,
            function: None,
        });
    }

    /// Runs a query at the newest snapshot.
    pub fn run_query(
        &self,
        path: &str,
        args: Object,
    ) -> impl Future<Output = Result<Value>> + use<> {
        let (door, call) = (Arc::clone(&self.shared.door), self.call(path, args));
        async move { door.run_query(call?).await }
    }

    /// Runs a mutation; done when it is durable.
    pub fn run_mutation(
        &self,
        path: &str,
        args: Object,
    ) -> impl Future<Output = Result<Value>> + use<> {
        let (door, call) = (Arc::clone(&self.shared.door), self.call(path, args));
        async move { door.run_mutation(call?).await }
    }

    /// Runs another action.
    pub fn run_action(
        &self,
        path: &str,
        args: Object,
    ) -> impl Future<Output = Result<Value>> + use<> {
        let (door, call) = (Arc::clone(&self.shared.door), self.call(path, args));
        async move { door.run_action(call?).await }
    }

    /// Functions to run later. Each call is durable when it is done.
    pub fn scheduler(&self) -> ActionScheduler {
        ActionScheduler { ctx: self.clone() }
    }

    pub(crate) fn door(&self) -> &dyn Door {
        &*self.shared.door
    }

    pub(crate) fn take_log(&self) -> Vec<LogLine> {
        self.shared.log.lock().take()
    }

    fn call(&self, path: &str, args: Object) -> Result<DoorCall> {
        let path = FunctionPath::new(path).map_err(|error| crate::error(error.to_string()))?;
        let depth = self.shared.parent.depth + 1;
        if depth >= ACTION_DEPTH_MAX {
            let text = format!("Actions call each other more than {ACTION_DEPTH_MAX} deep");
            return Err(Error::coded("MaximumCallDepthExceeded", text));
        }
        Ok(DoorCall {
            path,
            args,
            identity: self.shared.identity.clone(),
            parent: Parent {
                origin: Origin::Action,
                request: self.shared.parent.request.clone(),
                job: self.shared.parent.job,
                depth,
            },
        })
    }
}

impl ActionScheduler {
    /// Runs a function after a delay.
    pub async fn run_after(
        &self,
        delay: Duration,
        path: &str,
        args: Object,
    ) -> Result<Id<ScheduledFunction>> {
        let at = run_time_after(self.ctx.shared.door.now(), delay);
        self.schedule(at, path, args).await
    }

    /// Runs a function at a time in milliseconds since the epoch.
    pub async fn run_at(
        &self,
        at_ms: f64,
        path: &str,
        args: Object,
    ) -> Result<Id<ScheduledFunction>> {
        self.schedule(run_time_at(at_ms)?, path, args).await
    }

    async fn schedule(
        &self,
        at: Timestamp,
        path: &str,
        args: Object,
    ) -> Result<Id<ScheduledFunction>> {
        let call = self.ctx.call(path, args)?;
        self.ctx.shared.door.schedule(at, call).await.map(Id::from_document_id)
    }

    /// Cancels a scheduled function; nothing happens when it is done.
    pub async fn cancel(&self, job: &Id<ScheduledFunction>) -> Result<()> {
        let id: DocumentId = job.document_id();
        self.ctx.shared.door.cancel(id).await
    }
}
