//! A pushed program: compiled modules, and the functions that they export.
//!
//!     sources ─► bytecode, once ─► a realm with an image for each thread and module ─► calls
//!
//! Realms are kept by the thread that runs bodies, a bounded number of them, the ones used last.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use functions::{Body, Error, FunctionDef, FunctionKind, Result, Validator, Visibility};
use value::{FunctionPath, Value};

use crate::actions;
use crate::heap::{Failed, Heap, Modules};
use crate::realm::{Ended, Exported, Limits, Mode, Outside, Realm, Refused, Thrown, Waited};
use crate::syscalls::{Ctx, Syscalls};

/// Realms that one thread keeps, of all programs and modules together.
pub const REALMS_KEPT: usize = 32;
/// Packages that modules may import where they were not bundled with them.
const SUPPLIED: [(&str, &str); 2] = [
    ("convex/values", include_str!("convex/values.js")),
    ("convex/server", include_str!("convex/server.js")),
];
/// Before the path of a module in names that the engine sees.
const SCHEME: &str = "convex:/";

/// A module as it was bundled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path: `messages.js`, `_deps/X.js`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What a program starts with besides its modules.
pub struct Settings {
    /// Variables of the environment.
    pub env: BTreeMap<String, String>,
    /// What one call may use.
    pub limits: Limits,
    /// A clock that only goes forward.
    pub clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// What `Date.now()` is while modules are imported, in milliseconds since the epoch.
    pub import_time_ms: f64,
}

/// Why a program cannot be pushed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Failed to analyze {module}: {message}")]
pub struct PushError {
    /// The module's path.
    pub module: String,
    /// What is wrong with it.
    pub message: String,
}

/// Compiled modules. Its functions hold it.
pub struct Program {
    id: u64,
    bytecode: BTreeMap<String, Vec<u8>>,
    settings: Settings,
}

static PROGRAMS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Realms that wait for a call. The one used last is at the end.
    static IDLE: RefCell<Vec<Idle>> = const { RefCell::new(Vec::new()) };
}

struct Idle {
    program: u64,
    module: String,
    mode: Mode,
    realm: Realm,
}

impl Program {
    /// Compiles modules; nothing of them runs.
    pub fn compile(sources: &[Source], settings: Settings) -> Result<Arc<Program>, PushError> {
        let mut bytecode = BTreeMap::new();
        let mut compile = |path: &str, name: String, text: &str| {
            let fail = |message| PushError { module: path.to_string(), message };
            let mut heap = Heap::new(settings.limits.memory)
                .ok_or_else(|| fail("no memory to compile in".to_string()))?;
            let compiled = heap.compile(&name, text, true);
            bytecode.insert(name, compiled.map_err(|failed| fail(describe(failed)))?);
            Ok(())
        };
        for source in sources {
            compile(&source.path, format!("{SCHEME}{}", source.path), &source.text)?;
        }
        if sources.iter().any(|source| source.text.contains("convex/")) {
            for (name, text) in SUPPLIED {
                compile(name, name.to_string(), text)?;
            }
        }
        let id = PROGRAMS.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Program { id, bytecode, settings }))
    }

    /// Imports every module that can be called and lists what it exports.
    ///
    /// Errors: a module threw, or an export does not tell its validators.
    pub fn functions(self: &Arc<Self>) -> Result<Vec<FunctionDef>, PushError> {
        let mut functions = Vec::new();
        for name in self.bytecode.keys() {
            let path = name.strip_prefix(SCHEME).filter(|path| !path.starts_with("_deps/"));
            let Some(path) = path else { continue };
            let fail = |message: String| PushError { module: path.to_string(), message };
            let mut outside = Importing { program: self, mode: Mode::Transaction };
            let realm = Realm::build(&**self, name, &mut outside, &self.settings.limits);
            let mut realm = realm.map_err(|ended| fail(ended_text(ended)))?;
            let exports = realm.exports(&mut outside).map_err(|ended| fail(ended_text(ended)))?;
            for export in exports {
                functions.push(self.function(path, &export).map_err(fail)?);
            }
        }
        Ok(functions)
    }

    pub(crate) fn env(&self, name: &str) -> Option<String> {
        self.settings.env.get(name).cloned()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    pub(crate) fn elapsed(&self) -> Duration {
        (self.settings.clock)()
    }

    fn function(self: &Arc<Self>, module: &str, export: &Exported) -> Result<FunctionDef, String> {
        let path = match export.name.as_str() {
            "default" => FunctionPath::new(module),
            name => FunctionPath::new(&format!("{module}:{name}")),
        };
        let path = path.map_err(|error| error.to_string())?;
        let kind = match export.kind.as_str() {
            "query" => FunctionKind::Query,
            "mutation" => FunctionKind::Mutation,
            _ => FunctionKind::Action,
        };
        let visibility = match export.visibility.as_str() {
            "internal" => Visibility::Internal,
            _ => Visibility::Public,
        };
        let args = validator(export.args.as_deref())?.unwrap_or(Validator::Any);
        let returns = validator(export.returns.as_deref())?;
        let body = self.body(module, &export.name, kind);
        Ok(FunctionDef { path, visibility, args, returns, body })
    }

    fn body(self: &Arc<Self>, module: &str, function: &str, kind: FunctionKind) -> Body {
        let program = Arc::clone(self);
        let (module, function) = (format!("{SCHEME}{module}"), function.to_string());
        match kind {
            FunctionKind::Query => Body::Query(Arc::new(move |ctx, args| {
                program.run(&module, &function, "query", args, Ctx::Query(ctx))
            })),
            FunctionKind::Mutation => Body::Mutation(Arc::new(move |ctx, args| {
                program.run(&module, &function, "mutation", args, Ctx::Mutation(ctx))
            })),
            FunctionKind::Action => Body::Action(Arc::new(move |ctx, args| {
                let program = Arc::clone(&program);
                Box::pin(actions::run(program, module.clone(), function.clone(), args, ctx))
            })),
        }
    }

    fn run(
        &self,
        module: &str,
        function: &str,
        kind: &str,
        args: Value,
        ctx: Ctx<'_>,
    ) -> Result<Value> {
        let mut syscalls = Syscalls::new(ctx, self);
        let result = self.turn(module, function, kind, &args, &mut syscalls);
        match syscalls.stopped_by.take() {
            Some(error) => Err(error),
            None => result,
        }
    }

    /// Runs a function in a realm of its module; the realm waits for the next call afterwards.
    pub(crate) fn turn(
        &self,
        module: &str,
        function: &str,
        kind: &str,
        args: &Value,
        outside: &mut dyn Outside,
    ) -> Result<Value> {
        let args = format!("[{}]", value::json::to_string(args));
        let mut realm = self.realm(module, outside.mode())?;
        let result = realm.run(function, kind, &args, outside);
        IDLE.with_borrow_mut(|idle| {
            if idle.len() >= REALMS_KEPT {
                idle.remove(0);
            }
            idle.push(Idle {
                program: self.id,
                module: module.to_string(),
                mode: outside.mode(),
                realm,
            });
        });
        let text = result.map_err(failure)?;
        value::json::parse(&text).map_err(|error| {
            functions::error(format!("Function {function} return value invalid: {}", error.message))
        })
    }

    /// A realm of the module: one that waits on this thread, or a new one.
    fn realm(&self, module: &str, mode: Mode) -> Result<Realm> {
        let fits =
            |idle: &Idle| idle.program == self.id && idle.module == module && idle.mode == mode;
        let waiting = IDLE.with_borrow_mut(|idle| {
            let at = idle.iter().rposition(fits)?;
            Some(idle.remove(at).realm)
        });
        if let Some(realm) = waiting {
            return Ok(realm);
        }
        let mut outside = Importing { program: self, mode };
        Realm::build(self, module, &mut outside, &self.settings.limits).map_err(failure)
    }
}

impl Modules for Program {
    fn bytecode(&self, name: &str) -> Option<&[u8]> {
        self.bytecode.get(name).map(Vec::as_slice)
    }
}

/// What modules may ask while they are imported: hardly anything.
struct Importing<'a> {
    program: &'a Program,
    mode: Mode,
}

impl Outside for Importing<'_> {
    fn syscall(&mut self, _op: &str, _args: &str) -> Result<String, Refused> {
        Err(during_import("Convex system calls are"))
    }

    fn ask(&mut self, _number: u64, _op: &str, _args: &str) -> Option<Result<String, Refused>> {
        Some(Err(during_import("Convex system calls are")))
    }

    fn wait(&mut self) -> Waited {
        Waited::Nothing
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn performance(&mut self) -> f64 {
        0.0
    }

    fn now(&mut self) -> f64 {
        self.program.settings.import_time_ms
    }

    fn fill_random(&mut self, bytes: &mut [u8]) {
        // The same at every import: an image must not depend on who built it.
        bytes.fill(0x5a);
    }

    fn env(&mut self, name: &str) -> Option<String> {
        self.program.env(name)
    }

    fn log(&mut self, _level: &str, _text: &str) {}

    fn unavailable(&mut self, thing: &str) -> String {
        format!("{thing} unsupported at import time")
    }

    fn elapsed(&self) -> Duration {
        self.program.elapsed()
    }
}

fn during_import(what: &str) -> Refused {
    Refused::Error { message: format!("{what} unsupported at import time"), data: None }
}

/// A validator by its JSON text; None: nothing is checked.
fn validator(text: Option<&str>) -> Result<Option<Validator>, String> {
    let Some(text) = text.filter(|text| *text != "null") else { return Ok(None) };
    let json = serde_json::from_str(text).map_err(|error| format!("{error}"))?;
    Validator::from_json(&json).map(Some).map_err(|error| error.to_string())
}

fn failure(ended: Ended) -> Error {
    match ended {
        Ended::Threw(Thrown { message, stack, data }) => {
            let message = format!("{message}\n{stack}");
            match data.map(|data| value::json::parse(&data)) {
                None => functions::error(message),
                Some(Ok(data)) => Error::Application { data, message },
                Some(Err(invalid)) => {
                    functions::error(format!("ConvexError with invalid data: {}", invalid.message))
                }
            }
        }
        Ended::Failed(text) => functions::error(text),
        Ended::Stopped(why) => functions::error(why),
    }
}

fn ended_text(ended: Ended) -> String {
    failure(ended).to_string()
}

fn describe(failed: Failed) -> String {
    match failed {
        Failed::Thrown { message, .. } => message,
        Failed::Stopped(stop) => format!("{stop:?}"),
    }
}
