//! Functions by path: what exists, who may call it, and what it takes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use value::validator::Validator;
use value::{FunctionPath, Value};

use crate::context::{ActionCtx, MutationCtx, QueryCtx};
use crate::door::BoxFuture;
use crate::error::{Error, Result};
use crate::figures::{FunctionCounts, FunctionFigures};

/// What a function may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// Reads one snapshot.
    Query,
    /// Reads and writes one transaction.
    Mutation,
    /// Talks to the world; calls queries and mutations.
    Action,
}

impl FunctionKind {
    /// The word in texts for clients.
    pub fn as_str(self) -> &'static str {
        match self {
            FunctionKind::Query => "Query",
            FunctionKind::Mutation => "Mutation",
            FunctionKind::Action => "Action",
        }
    }
}

/// Who may call a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Anyone.
    Public,
    /// Other functions, crons and administrators.
    Internal,
}

/// Body of a query: validated arguments in, result out.
pub type QueryBody = Arc<dyn Fn(&QueryCtx<'_>, Value) -> Result<Value> + Send + Sync>;
/// Body of a mutation.
pub type MutationBody = Arc<dyn Fn(&MutationCtx<'_>, Value) -> Result<Value> + Send + Sync>;
/// Body of an action.
pub type ActionBody = Arc<dyn Fn(ActionCtx, Value) -> BoxFuture<Result<Value>> + Send + Sync>;

/// What runs. Another language plugs in by making such closures.
///
/// Errors come as they leave the function, with `Uncaught …` before the message.
#[derive(Clone)]
pub enum Body {
    /// Runs synchronously on a snapshot.
    Query(QueryBody),
    /// Runs synchronously on a transaction.
    Mutation(MutationBody),
    /// Runs asynchronously, without a transaction of its own.
    Action(ActionBody),
}

/// A function.
#[derive(Clone)]
pub struct FunctionDef {
    /// Where it is called.
    pub path: FunctionPath,
    /// Who may call it.
    pub visibility: Visibility,
    /// What it takes: an object, or any.
    pub args: Validator,
    /// What it returns; None: not checked.
    pub returns: Option<Validator>,
    /// What runs.
    pub body: Body,
}

impl FunctionDef {
    /// What it may do.
    pub fn kind(&self) -> FunctionKind {
        match self.body {
            Body::Query(_) => FunctionKind::Query,
            Body::Mutation(_) => FunctionKind::Mutation,
            Body::Action(_) => FunctionKind::Action,
        }
    }

    /// Fails unless the function is of `kind`, in the words that clients know.
    pub fn expect_kind(&self, kind: FunctionKind) -> Result<()> {
        if self.kind() == kind {
            return Ok(());
        }
        Err(error_text(format!(
            "Trying to execute {} as {}, but it is defined as {}.",
            self.path.with_js(),
            kind.as_str(),
            self.kind().as_str()
        )))
    }
}

impl fmt::Debug for FunctionDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {}", self.visibility, self.kind(), self.path)
    }
}

/// All functions that can be called. Replaced as a whole when code is pushed.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    functions: BTreeMap<FunctionPath, Registered>,
}

#[derive(Clone, Debug)]
struct Registered {
    function: Arc<FunctionDef>,
    figures: Arc<FunctionFigures>,
}

impl Registry {
    /// Adds a function. Err: its path is taken; nothing changed.
    pub fn add(&mut self, function: FunctionDef) -> Result<(), FunctionPath> {
        if self.functions.contains_key(&function.path) {
            return Err(function.path);
        }
        let figures = Arc::new(FunctionFigures::new(&function.path));
        let path = function.path.clone();
        self.functions.insert(path, Registered { function: Arc::new(function), figures });
        Ok(())
    }

    /// The function at a path, whoever asks.
    pub fn get(&self, path: &FunctionPath) -> Option<&Arc<FunctionDef>> {
        self.functions.get(path).map(|registered| &registered.function)
    }

    /// What is counted of a function.
    pub(crate) fn figures(&self, path: &FunctionPath) -> Option<&Arc<FunctionFigures>> {
        self.functions.get(path).map(|registered| &registered.figures)
    }

    /// What every function did, by path.
    pub fn counts(&self) -> impl Iterator<Item = FunctionCounts> {
        self.functions.values().map(|registered| FunctionCounts {
            name: Arc::clone(&registered.figures.name),
            kind: registered.function.kind(),
            figures: registered.figures.view(),
        })
    }

    /// Goes on counting where `before`, which this one replaces, stopped.
    pub fn take_figures(&mut self, before: &Registry) {
        for (path, registered) in &mut self.functions {
            if let Some(old) = before.figures(path) {
                registered.figures = Arc::clone(old);
            }
        }
    }

    /// All functions, by path.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FunctionDef>> {
        self.functions.values().map(|registered| &registered.function)
    }

    /// The function that a client means. Internal ones do not exist for it unless it may call
    /// them.
    pub fn find(&self, path: &str, internal_allowed: bool) -> Result<&Arc<FunctionDef>> {
        let found = FunctionPath::new(path).ok().and_then(|path| self.get(&path));
        match found {
            Some(found) if internal_allowed || found.visibility == Visibility::Public => Ok(found),
            Some(_) | None => {
                let path = FunctionPath::new(path).map_or(path.to_string(), |p| p.to_string());
                let text = if internal_allowed { "function" } else { "public function" };
                Err(error_text(format!("Could not find {text} for '{path}'.")))
            }
        }
    }

    /// The function that another function means; internal ones included.
    pub(crate) fn find_for_function(&self, path: &str) -> Result<&Arc<FunctionDef>> {
        self.find(path, true)
    }
}

fn error_text(message: String) -> Error {
    Error::Developer { code: None, message }
}
