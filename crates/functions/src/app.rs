//! `App`: an application in Rust, declared as a list of functions and crons.
//!
//!     App::new("presence-chat")
//!         .schema(include_str!("../../../schema/chat.json"))
//!         .mutation("presence:setPresence", set_presence)
//!         .query("presence:getPresence", get_presence)
//!         .internal_mutation("presence:cleanup", cleanup)
//!         .cron("cleanup", Schedule::interval_minutes(5), "presence:cleanup", object! {})
//!
//! Mistakes in the declaration (a path twice, a bad cron) are reported together by `build`.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use value::schema::Schema;
use value::{FunctionPath, Object, Value};

use crate::context::{ActionCtx, MutationCtx, QueryCtx};
use crate::crons::{CronSpec, check_identifier};
use crate::error::{Error, Result, error};
use crate::query::to_value;
use crate::registry::{Body, FunctionDef, FunctionKind, Registry, Visibility};
use crate::schedule::Schedule;
use crate::shape::Shape;

/// An application under declaration.
pub struct App {
    name: String,
    schema: Option<Schema>,
    registry: Registry,
    crons: Vec<CronSpec>,
    mistakes: Vec<String>,
}

/// A declared application.
#[derive(Clone, Debug)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Its tables; None: none are declared.
    pub schema: Option<Schema>,
    /// Its functions.
    pub registry: Registry,
    /// Its crons.
    pub crons: Vec<CronSpec>,
}

/// Mistakes in a declaration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("application {app:?}: {}", mistakes.join("; "))]
pub struct AppError {
    /// Name of the application.
    pub app: String,
    /// What is wrong, each naming its function or cron.
    pub mistakes: Vec<String>,
}

impl App {
    /// An application without functions.
    pub fn new(name: &str) -> App {
        App {
            name: name.to_string(),
            schema: None,
            registry: Registry::default(),
            crons: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// Its tables, in Convex's exported schema form.
    #[must_use]
    pub fn schema(mut self, json: &str) -> App {
        match Schema::from_json(json) {
            Ok(schema) => self.schema = Some(schema),
            Err(error) => self.mistakes.push(format!("schema: {error}")),
        }
        self
    }

    /// A query that anyone may call.
    #[must_use]
    pub fn query<A, R, F>(self, path: &str, body: F) -> App
    where
        A: Shape + DeserializeOwned,
        R: Shape + Serialize,
        F: Fn(&QueryCtx<'_>, A) -> Result<R> + Send + Sync + 'static,
    {
        self.function::<A, R>(path, Visibility::Public, query_body(body))
    }

    /// A query that only functions and administrators may call.
    #[must_use]
    pub fn internal_query<A, R, F>(self, path: &str, body: F) -> App
    where
        A: Shape + DeserializeOwned,
        R: Shape + Serialize,
        F: Fn(&QueryCtx<'_>, A) -> Result<R> + Send + Sync + 'static,
    {
        self.function::<A, R>(path, Visibility::Internal, query_body(body))
    }

    /// A mutation that anyone may call.
    #[must_use]
    pub fn mutation<A, R, F>(self, path: &str, body: F) -> App
    where
        A: Shape + DeserializeOwned,
        R: Shape + Serialize,
        F: Fn(&MutationCtx<'_>, A) -> Result<R> + Send + Sync + 'static,
    {
        self.function::<A, R>(path, Visibility::Public, mutation_body(body))
    }

    /// A mutation that only functions, crons and administrators may call.
    #[must_use]
    pub fn internal_mutation<A, R, F>(self, path: &str, body: F) -> App
    where
        A: Shape + DeserializeOwned,
        R: Shape + Serialize,
        F: Fn(&MutationCtx<'_>, A) -> Result<R> + Send + Sync + 'static,
    {
        self.function::<A, R>(path, Visibility::Internal, mutation_body(body))
    }

    /// An action that anyone may call.
    #[must_use]
    pub fn action<A, R, F, Fut>(self, path: &str, body: F) -> App
    where
        A: Shape + DeserializeOwned,
        R: Shape + Serialize,
        F: Fn(ActionCtx, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        self.function::<A, R>(path, Visibility::Public, action_body(body))
    }

    /// An action that only functions, crons and administrators may call.
    #[must_use]
    pub fn internal_action<A, R, F, Fut>(self, path: &str, body: F) -> App
    where
        A: Shape + DeserializeOwned,
        R: Shape + Serialize,
        F: Fn(ActionCtx, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        self.function::<A, R>(path, Visibility::Internal, action_body(body))
    }

    /// A function that runs by a schedule.
    #[must_use]
    pub fn cron(mut self, identifier: &str, schedule: Schedule, path: &str, args: Object) -> App {
        match cron_spec(identifier, schedule, path, args) {
            Ok(spec) if self.crons.iter().any(|cron| cron.identifier == identifier) => {
                self.mistakes.push(format!("cron {:?} is declared twice", spec.identifier));
            }
            Ok(spec) => self.crons.push(spec),
            Err(mistake) => self.mistakes.push(format!("cron {identifier:?}: {mistake}")),
        }
        self
    }

    /// The application, if its declaration is sound.
    pub fn build(mut self) -> Result<Application, AppError> {
        for cron in &self.crons {
            match self.registry.get(&cron.path).map(|function| function.kind()) {
                Some(FunctionKind::Mutation | FunctionKind::Action) => {}
                Some(FunctionKind::Query) => self
                    .mistakes
                    .push(format!("cron {:?} calls the query {}", cron.identifier, cron.path)),
                None => self
                    .mistakes
                    .push(format!("cron {:?} calls no function {}", cron.identifier, cron.path)),
            }
        }
        if !self.mistakes.is_empty() {
            return Err(AppError { app: self.name, mistakes: self.mistakes });
        }
        Ok(Application {
            name: self.name,
            schema: self.schema,
            registry: self.registry,
            crons: self.crons,
        })
    }

    fn function<A: Shape, R: Shape>(
        mut self,
        path: &str,
        visibility: Visibility,
        body: Body,
    ) -> App {
        let path = match FunctionPath::new(path) {
            Ok(path) => path,
            Err(error) => {
                self.mistakes.push(error.to_string());
                return self;
            }
        };
        let (args, returns) = (A::args_validator(), Some(R::validator()));
        if let Err(path) = self.registry.add(FunctionDef { path, visibility, args, returns, body })
        {
            self.mistakes.push(format!("function {path} is declared twice"));
        }
        self
    }
}

fn query_body<A, R, F>(body: F) -> Body
where
    A: Shape + DeserializeOwned,
    R: Serialize,
    F: Fn(&QueryCtx<'_>, A) -> Result<R> + Send + Sync + 'static,
{
    let body = move |ctx: &QueryCtx<'_>, args| to_value(&body(ctx, decode(args)?)?);
    Body::Query(Arc::new(move |ctx, args| body(ctx, args).map_err(Error::uncaught)))
}

fn mutation_body<A, R, F>(body: F) -> Body
where
    A: Shape + DeserializeOwned,
    R: Serialize,
    F: Fn(&MutationCtx<'_>, A) -> Result<R> + Send + Sync + 'static,
{
    let body = move |ctx: &MutationCtx<'_>, args| to_value(&body(ctx, decode(args)?)?);
    Body::Mutation(Arc::new(move |ctx, args| body(ctx, args).map_err(Error::uncaught)))
}

fn action_body<A, R, F, Fut>(body: F) -> Body
where
    A: Shape + DeserializeOwned,
    R: Serialize,
    F: Fn(ActionCtx, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send + 'static,
{
    Body::Action(Arc::new(move |ctx, args| match decode(args) {
        Ok(args) => {
            let ran = body(ctx, args);
            Box::pin(async move {
                let result = ran.await.and_then(|value| to_value(&value));
                result.map_err(Error::uncaught)
            })
        }
        Err(error) => Box::pin(async move { Err(error.uncaught()) }),
    }))
}

/// Validated arguments as their Rust type.
fn decode<A: Shape + DeserializeOwned>(args: Value) -> Result<A> {
    A::from_args(args).map_err(|mismatch| {
        // The validator has passed: the type is narrower than its validator, such as u8.
        error(format!("ArgumentValidationError: {mismatch}"))
    })
}

fn cron_spec(
    identifier: &str,
    schedule: Schedule,
    path: &str,
    args: Object,
) -> Result<CronSpec, String> {
    check_identifier(identifier)?;
    schedule.check()?;
    let path = FunctionPath::new(path).map_err(|error| error.to_string())?;
    Ok(CronSpec { identifier: identifier.to_string(), schedule, path, args })
}
