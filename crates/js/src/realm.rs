//! A realm with one module in it, and the driver that turns a call of one of its functions.
//!
//!     build: prelude, module and what it imports ─► image
//!     run:   begin ─► (jobs ─► next system call ─► answer)* ─► end ─► back to the image
//!
//! System calls are answered one by one, oldest first, each before JavaScript goes on: so what runs
//! is the same every time. Source: spec/function-runtime.md 9.

use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use crate::heap::{Failed, Handle, Heap, Host, Modules, Reply, Stop};
use crate::web;

/// Scripts of the prelude, in order.
const PRELUDE: [(&str, &str); 3] = [
    ("prelude/environment.js", include_str!("prelude/environment.js")),
    ("prelude/console.js", include_str!("prelude/console.js")),
    ("prelude/web.js", include_str!("prelude/web.js")),
];

/// What one call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// JavaScript of a query or mutation, system calls left out.
    pub time: Duration,
    /// A whole action, with everything that it waits for.
    pub action_time: Duration,
    /// JavaScript of one module while it is imported.
    pub import_time: Duration,
    /// Bytes that JavaScript may hold.
    pub memory: usize,
}

impl Default for Limits {
    /// The official one second, ten times: an interpreter is slower than a compiler.
    fn default() -> Self {
        Limits {
            time: Duration::from_secs(10),
            action_time: Duration::from_secs(1800),
            import_time: Duration::from_secs(10),
            memory: 128 << 20,
        }
    }
}

/// What a module's code asks of the outside.
pub(crate) trait Outside {
    /// `Convex.syscall(op, args)`.
    fn syscall(&mut self, op: &str, args: &str) -> Result<String, Refused>;
    /// `Convex.asyncSyscall(op, args)`. None: the answer comes out of `wait`, with this number.
    fn ask(&mut self, number: u64, op: &str, args: &str) -> Option<Result<String, Refused>>;
    /// The next answer, when one is awaited and nothing else can be done.
    fn wait(&mut self) -> Waited;
    /// What kind of function the realm is for.
    fn mode(&self) -> Mode;
    /// `performance.now()`, in milliseconds.
    fn performance(&mut self) -> f64;
    /// `Date.now()`: milliseconds since the epoch.
    fn now(&mut self) -> f64;
    /// Random bytes.
    fn fill_random(&mut self, bytes: &mut [u8]);
    /// `process.env.NAME`.
    fn env(&mut self, name: &str) -> Option<String>;
    /// A line of `console`.
    fn log(&mut self, level: &str, text: &str);
    /// The text of the error that a thing has that this kind of function may not use.
    fn unavailable(&mut self, thing: &str) -> String;
    /// A clock that only goes forward.
    fn elapsed(&self) -> Duration;
}

/// What kind of function a realm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Queries and mutations: the same every time, within one transaction.
    Transaction,
    /// Actions: real time, timers, several calls under way.
    Action,
}

/// What came of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The answer to a call, by its number.
    Answer(u64, Result<String, Refused>),
    /// Nothing is under way.
    Nothing,
    /// The function has had its time.
    TooLong,
}

/// Why a system call gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The function is at fault, and may catch the error.
    Error {
        /// What is wrong.
        message: String,
        /// The data of a `ConvexError` of a nested function, as convex-encoded JSON.
        data: Option<serde_json::Value>,
    },
    /// Nothing of it reaches the function: the call ends.
    Stop(String),
}

/// A function that a module exports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Exported {
    /// Its name in the module.
    pub(crate) name: String,
    /// `query`, `mutation` or `action`.
    pub(crate) kind: String,
    /// `public` or `internal`.
    pub(crate) visibility: String,
    /// What it takes: JSON of its validator. None: anything.
    pub(crate) args: Option<String>,
    /// What it returns: JSON of its validator, or the text `null`. None: anything.
    pub(crate) returns: Option<String>,
}

/// What a function ended with when it was not its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It threw.
    Threw(Thrown),
    /// It was ended, or could not begin; the text tells.
    Failed(String),
    /// A system call ended it.
    Stopped(String),
}

/// What a function threw.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Thrown {
    /// `Uncaught Error: …`.
    pub(crate) message: String,
    /// Frames, a line each, in positions of the bundled module.
    #[serde(default)]
    pub(crate) stack: String,
    /// Data of a `ConvexError`, as the text of convex-encoded JSON.
    #[serde(default)]
    pub(crate) data: Option<String>,
}

/// A realm that runs functions of one module.
pub(crate) struct Realm {
    heap: Heap,
    module: String,
    handles: Handles,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Handles {
    take: Handle,
    begin: Handle,
    next: Handle,
    settle: Handle,
    end: Handle,
    describe: Handle,
    analyze: Handle,
}

/// The prelude, compiled once for the process.
static COMPILED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut heap = Heap::new(64 << 20).expect("there are addresses for one engine");
    let compile = |(name, source): (&str, &str)| {
        heap.compile(name, source, false).expect("the prelude is part of the program and parses")
    };
    PRELUDE.map(compile).into()
});

impl Realm {
    /// Imports `module`, with everything it imports, into a fresh realm.
    ///
    /// Errors: what a module threw while it was imported.
    pub(crate) fn build(
        modules: &dyn Modules,
        module: &str,
        outside: &mut dyn Outside,
        limits: &Limits,
    ) -> Result<Realm, Ended> {
        let mut heap = Heap::new(limits.memory)
            .ok_or_else(|| Ended::Stopped("no memory for another realm".to_string()))?;
        let mut bridge = Bridge { outside };
        for script in COMPILED.iter() {
            heap.run(script, &mut bridge).map_err(|failed| ended(failed, limits))?;
        }
        let handles = Handles::find(&mut heap);
        heap.import(module, handles.take, modules, &mut bridge, limits.import_time)
            .map_err(|failed| ended(failed, limits))?;
        heap.freeze();
        Ok(Realm { heap, module: module.to_string(), handles, limits: *limits })
    }

    /// The functions that the module exports.
    pub(crate) fn exports(&mut self, outside: &mut dyn Outside) -> Result<Vec<Exported>, Ended> {
        let (analyze, module, time) = (self.handles.analyze, self.module.clone(), self.limits.time);
        let mut bridge = Bridge { outside };
        let told = self.heap.call(analyze, &[&module], &mut bridge, time);
        self.heap.thaw();
        let told = told.map_err(|failed| self.ended(failed))?.unwrap_or_default();
        serde_json::from_str(&told).map_err(|error| Ended::Failed(error.to_string()))
    }

    /// Runs a function; afterwards the realm is as it was. `kind` is `query`, `mutation` or `action`,
    /// `args` the JSON list of its arguments. Gives the text of its result.
    pub(crate) fn run(
        &mut self,
        function: &str,
        kind: &str,
        args: &str,
        outside: &mut dyn Outside,
    ) -> Result<String, Ended> {
        let result = self.turn(function, kind, args, outside);
        self.heap.thaw();
        result
    }

    fn turn(
        &mut self,
        function: &str,
        kind: &str,
        args: &str,
        outside: &mut dyn Outside,
    ) -> Result<String, Ended> {
        let Handles { begin, next, settle, end, .. } = self.handles;
        let began = outside.elapsed();
        let mut waited = Duration::ZERO;
        let module = self.module.clone();
        let problem =
            self.call(begin, &[&module, function, kind, args], outside, self.limits.time)?;
        if let Some(problem) = problem {
            return Err(Ended::Failed(problem));
        }
        let mut under_way = 0_usize;
        loop {
            let used = outside.elapsed().saturating_sub(began).saturating_sub(waited);
            let left = self.limits.time.saturating_sub(used);
            self.run_jobs(outside, left)?;
            let ended = self.call(end, &[], outside, left)?;
            let ended = match ended.as_deref().map(|end| end.split_at(1)) {
                Some(("-", thrown)) => return Err(threw(thrown)),
                Some((_, result)) if outside.mode() == Mode::Action => {
                    return Ok(result.to_string());
                }
                Some((_, result)) => Some(result),
                None => None,
            };
            let asked = outside.elapsed();
            let (number, answer) = match self.call(next, &[], outside, left)? {
                Some(asked) => {
                    let (number, op, args) = parts(&asked)?;
                    match outside.ask(number, op, args) {
                        Some(answer) => (number, answer),
                        None => {
                            under_way += 1;
                            continue;
                        }
                    }
                }
                None if under_way == 0 => {
                    let never = || Ended::Failed("Returned promise will never resolve".to_string());
                    return ended.map(str::to_string).ok_or_else(never);
                }
                None => match outside.wait() {
                    Waited::Answer(number, answer) => {
                        under_way -= 1;
                        (number, answer)
                    }
                    Waited::Nothing => {
                        under_way = 0;
                        continue;
                    }
                    Waited::TooLong => {
                        return Err(Ended::Failed(timed_out(self.limits.action_time)));
                    }
                },
            };
            waited += outside.elapsed().saturating_sub(asked);
            let answer = match answer {
                Ok(answer) => format!("+{answer}"),
                Err(Refused::Error { message, data }) => format!("-{}", error_json(message, data)),
                Err(Refused::Stop(why)) => return Err(Ended::Stopped(why)),
            };
            self.call(settle, &[&number.to_string(), &answer], outside, left)?;
        }
    }

    /// Runs what promises wait for; a rejection that nobody handles ends the call.
    fn run_jobs(&mut self, outside: &mut dyn Outside, time: Duration) -> Result<(), Ended> {
        let describe = self.handles.describe;
        let mut bridge = Bridge { outside };
        let ran = self.heap.run_jobs(&mut bridge, time);
        let lost = ran.and_then(|()| self.heap.unhandled(describe, &mut bridge, time));
        match lost.map_err(|failed| self.ended(failed))? {
            Some(lost) => Err(threw(&lost)),
            None => Ok(()),
        }
    }

    fn call(
        &mut self,
        function: Handle,
        args: &[&str],
        outside: &mut dyn Outside,
        time: Duration,
    ) -> Result<Option<String>, Ended> {
        let called = self.heap.call(function, args, &mut Bridge { outside }, time);
        called.map_err(|failed| self.ended(failed))
    }

    fn ended(&self, failed: Failed) -> Ended {
        ended(failed, &self.limits)
    }
}

impl Handles {
    /// The driver's functions, taken off the global object.
    fn find(heap: &mut Heap) -> Handles {
        let mut find = |name: &str| {
            let handle = heap.global_function(&format!("driver_{name}"));
            handle.expect("the prelude sets the driver's functions")
        };
        let handles = Handles {
            take: find("take"),
            begin: find("begin"),
            next: find("next"),
            settle: find("settle"),
            end: find("end"),
            describe: find("describe"),
            analyze: find("analyze"),
        };
        for name in ["take", "begin", "next", "settle", "end", "describe", "analyze"] {
            heap.remove_global(&format!("driver_{name}"));
        }
        heap.remove_global("web");
        handles
    }
}

/// Random bytes of one request. Source: the limit of `crypto.getRandomValues`.
const RANDOM_BYTES_MAX: usize = 65_536;

/// Splits what JavaScript asks by name.
struct Bridge<'a> {
    outside: &'a mut dyn Outside,
}

impl Host for Bridge<'_> {
    fn call(&mut self, name: &str, text: &str) -> Reply {
        match name.split_once(' ').unwrap_or((name, "")) {
            ("syscall", op) => match self.outside.syscall(op, text) {
                Ok(answer) => Reply::Text(answer),
                Err(Refused::Error { message, data: _ }) => Reply::Throw(message),
                Err(Refused::Stop(why)) => Reply::Stop(Stop::Host(why)),
            },
            ("now", _) => Reply::Number(self.outside.now()),
            ("random", "bytes") => {
                let mut bytes = vec![0; text.parse().unwrap_or(0).min(RANDOM_BYTES_MAX)];
                self.outside.fill_random(&mut bytes);
                Reply::Text(web::base64(&bytes))
            }
            ("random", _) => {
                let mut bytes = [0; 8];
                self.outside.fill_random(&mut bytes);
                Reply::Number((u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64)
            }
            ("performance", _) => Reply::Number(self.outside.performance()),
            ("mode", _) => match self.outside.mode() {
                Mode::Transaction => Reply::Null,
                Mode::Action => Reply::Text("action".to_string()),
            },
            ("env", _) => self.outside.env(text).map_or(Reply::Null, Reply::Text),
            ("log", level) => {
                self.outside.log(level, text);
                Reply::Null
            }
            ("unavailable", _) => Reply::Throw(self.outside.unavailable(text)),
            ("refuse", _) => Reply::Stop(Stop::Host(text.to_string())),
            (thing, what) => web::call(thing, what, text),
        }
    }

    fn elapsed(&self) -> Duration {
        self.outside.elapsed()
    }
}

/// `number op\nargs` in its parts.
fn parts(asked: &str) -> Result<(u64, &str, &str), Ended> {
    let parsed = asked.split_once('\n').and_then(|(head, args)| {
        let (number, op) = head.split_once(' ')?;
        Some((number.parse().ok()?, op, args))
    });
    parsed.ok_or_else(|| Ended::Failed("a system call that cannot be read".to_string()))
}

fn error_json(message: String, data: Option<serde_json::Value>) -> String {
    let mut error = serde_json::json!({ "message": message });
    if let Some(data) = data {
        error["data"] = data;
    }
    error.to_string()
}

/// What `describe` told.
fn threw(told: &str) -> Ended {
    match serde_json::from_str(told) {
        Ok(thrown) => Ended::Threw(thrown),
        Err(_) => Ended::Failed("Uncaught".to_string()),
    }
}

fn ended(failed: Failed, limits: &Limits) -> Ended {
    match failed {
        Failed::Thrown { message, stack } => {
            Ended::Threw(Thrown { message: format!("Uncaught {message}"), stack, data: None })
        }
        Failed::Stopped(Stop::Time) => Ended::Failed(timed_out(limits.time)),
        Failed::Stopped(Stop::Memory) => Ended::Failed(format!(
            "JavaScript execution ran out of memory (maximum memory usage: {} MB)",
            limits.memory >> 20
        )),
        Failed::Stopped(Stop::Host(why)) => Ended::Stopped(why),
    }
}

/// The text of a call that ran longer than it may.
pub(crate) fn timed_out(limit: Duration) -> String {
    format!("Function execution timed out (maximum duration: {}s)", limit.as_secs_f64())
}

#[cfg(test)]
mod tests;
