//! Actions: a thread of its own turns the realm, and what it asks for runs on the async runtime.
//!
//!     thread: jobs ─► ask ─► … ─► wait ◄── answers ◄── tasks: queries, mutations, timers
//!
//! Several calls may be under way; their answers come in the order in which they end. When the action
//! ends, what nobody awaited is dropped. Source: spec/function-runtime.md 17.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use functions::{ActionCtx, Error, Id, Result};
use serde_json::{Value as Json, json};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use value::{Object, Value};

use crate::program::Program;
use crate::realm::{Mode, Outside, Refused, Waited};
use crate::syscalls::{
    address, arguments, document_id, identity_json, invalid, log_level, object, parsed,
};

/// Calls of one action that run at the same time; others wait their turn. Timers are not counted.
pub(crate) const CALLS_PARALLEL: usize = 8;
/// The call behind timers.
const SLEEP: &str = "sleep";
/// Stack of an action's thread.
const STACK_BYTES: usize = 16 << 20;

/// Runs an action to its end. Dropped before, it lets the thread end when JavaScript next waits.
pub(crate) async fn run(
    program: Arc<Program>,
    module: String,
    function: String,
    args: Value,
    ctx: ActionCtx,
) -> Result<Value> {
    let (told, result) = oneshot::channel();
    let runtime = Handle::current();
    let turn = move || {
        let (answers, answered) = channel();
        let deadline = program.elapsed().saturating_add(program.limits().action_time);
        let mut calls = Calls {
            program: &program,
            ctx,
            runtime,
            answers,
            answered,
            deadline,
            began: program.elapsed(),
            running: 0,
            waiting: VecDeque::new(),
            tasks: Vec::new(),
            stopped_by: None,
        };
        let result = program.turn(&module, &function, "action", &args, &mut calls);
        let result = calls.stopped_by.take().map_or(result, Err);
        for task in &calls.tasks {
            task.abort();
        }
        // Whoever called may have gone.
        let _ = told.send(result);
    };
    std::thread::Builder::new()
        .name("action".to_string())
        .stack_size(STACK_BYTES)
        .spawn(turn)
        .map_err(|error| Error::system("TooManyConcurrentRequests", error.to_string()))?;
    result
        .await
        .unwrap_or_else(|_| Err(Error::system("InternalServerError", "the action was lost")))
}

/// What came of a call.
struct Answer {
    number: u64,
    /// Whether the call held one of the places of `CALLS_PARALLEL`.
    counted: bool,
    result: Result<Json>,
}

/// The calls of one running action.
struct Calls<'a> {
    program: &'a Program,
    ctx: ActionCtx,
    runtime: Handle,
    answers: Sender<Answer>,
    answered: Receiver<Answer>,
    /// When the action must end, by the program's clock.
    deadline: Duration,
    began: Duration,
    running: usize,
    /// Calls above `CALLS_PARALLEL`.
    waiting: VecDeque<(u64, String, String)>,
    tasks: Vec<tokio::task::AbortHandle>,
    stopped_by: Option<Error>,
}

impl Calls<'_> {
    fn start(&mut self, number: u64, op: &str, args: &str) {
        let (answers, ctx) = (self.answers.clone(), self.ctx.clone());
        let counted = op != SLEEP;
        let call = call(ctx, op.to_string(), args.to_string());
        let task = self.runtime.spawn(async move {
            // The action may have ended.
            let _ = answers.send(Answer { number, counted, result: call.await });
        });
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(task.abort_handle());
    }

    fn refuse(&mut self, error: Error) -> Refused {
        match error {
            Error::Developer { message, code: _ } => Refused::Error { message, data: None },
            Error::Application { data, message } => {
                Refused::Error { message, data: Some(value::json::to_json(&data)) }
            }
            Error::System { code, message } => {
                tracing::warn!(code, message, "a call of an action failed");
                let message = "Your request couldn't be completed. Try again later.".to_string();
                Refused::Error { message, data: None }
            }
        }
    }
}

impl Outside for Calls<'_> {
    fn syscall(&mut self, op: &str, _args: &str) -> Result<String, Refused> {
        Err(Refused::Error { message: format!("Unknown operation {op}"), data: None })
    }

    fn ask(&mut self, number: u64, op: &str, args: &str) -> Option<Result<String, Refused>> {
        if op == SLEEP {
            self.start(number, op, args);
        } else if self.running < CALLS_PARALLEL {
            self.running += 1;
            self.start(number, op, args);
        } else {
            self.waiting.push_back((number, op.to_string(), args.to_string()));
        }
        None
    }

    fn wait(&mut self) -> Waited {
        let left = self.deadline.saturating_sub(self.program.elapsed());
        match self.answered.recv_timeout(left) {
            Ok(Answer { number, counted, result }) => {
                if counted {
                    self.running = self.running.saturating_sub(1);
                    if let Some((number, op, args)) = self.waiting.pop_front() {
                        self.running += 1;
                        self.start(number, &op, &args);
                    }
                }
                let text = result.map(|json| json.to_string());
                Waited::Answer(number, text.map_err(|error| self.refuse(error)))
            }
            Err(RecvTimeoutError::Timeout) => Waited::TooLong,
            Err(RecvTimeoutError::Disconnected) => Waited::Nothing,
        }
    }

    fn mode(&self) -> Mode {
        Mode::Action
    }

    fn performance(&mut self) -> f64 {
        let ran = self.program.elapsed().saturating_sub(self.began);
        (ran.as_secs_f64() * 10_000.0).floor() / 10.0
    }

    fn now(&mut self) -> f64 {
        self.ctx.now()
    }

    fn fill_random(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let random = self.ctx.random();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }

    fn env(&mut self, name: &str) -> Option<String> {
        self.program.env(name)
    }

    fn log(&mut self, level: &str, text: &str) {
        self.ctx.log_at(log_level(level), text);
    }

    fn unavailable(&mut self, thing: &str) -> String {
        format!("{thing} is not supported in actions yet")
    }

    fn elapsed(&self) -> Duration {
        self.program.elapsed()
    }
}

/// One call, on the async runtime.
async fn call(ctx: ActionCtx, op: String, args: String) -> Result<Json> {
    let args = parsed(&args)?;
    match op.as_str() {
        SLEEP => {
            let ms = args.as_f64().unwrap_or(0.0).clamp(0.0, f64::from(i32::MAX));
            tokio::time::sleep(Duration::from_secs_f64(ms / 1000.0)).await;
            Ok(Json::Null)
        }
        "1.0/actions/query" => {
            let ran = ctx.run_query(address(&args)?, named(&args)?).await;
            Ok(value::json::to_json(&ran?))
        }
        "1.0/actions/mutation" => {
            let ran = ctx.run_mutation(address(&args)?, named(&args)?).await;
            Ok(value::json::to_json(&ran?))
        }
        "1.0/actions/action" => {
            let ran = ctx.run_action(address(&args)?, named(&args)?).await;
            Ok(value::json::to_json(&ran?))
        }
        "1.0/actions/schedule" => {
            let seconds = args["ts"].as_f64();
            let seconds = seconds.ok_or_else(|| invalid("ts", "scheduler", "expected a number"))?;
            let arguments = arguments(&args, "scheduler")?;
            let at_ms = seconds * 1000.0;
            let id = ctx.scheduler().run_at(at_ms, address(&args)?, arguments).await?;
            Ok(json!(id.to_string()))
        }
        "1.0/actions/cancel_job" => {
            let id = document_id(&args, "db.cancel_job")?;
            ctx.scheduler().cancel(&Id::from_document_id(id)).await?;
            Ok(Json::Null)
        }
        "1.0/getUserIdentity" => {
            let identity = ctx.auth().get_user_identity()?;
            Ok(identity.map_or(Json::Null, |user| identity_json(&user)))
        }
        _ => Err(functions::error(format!("Unknown async operation {op}"))),
    }
}

fn named(args: &Json) -> Result<Object> {
    object(args, "args", "runUdf")
}
