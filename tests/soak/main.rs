//! Long runs over a server of its own: `make soak`, MINUTES=… for how long. Without MINUTES each takes a
//! few seconds and is a test like any other.
//!
//! - `stampede`: everybody comes back at once · `kills`: killed under load, with jobs due
//! - `heartbeats`: small writes for ever · `readers`: slow ones, and one with thousands of queries

#![expect(clippy::unwrap_used, reason = "in tests a panic is the answer")]

mod heartbeats;
mod kills;
mod readers;
mod stampede;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tests::process::{Process, base_server};
use tests::wire::{body, exchange, post};
use tokio::time::Instant;

/// Shares of the time, of which each run takes one.
const RUNS: u32 = 4;

/// How much is to be done.
#[derive(Clone, Copy)]
struct Size {
    /// How long to go on; `None`: one short round.
    time: Option<Duration>,
}

impl Size {
    fn of_this_run() -> Size {
        let minutes = std::env::var("MINUTES").ok();
        let minutes = minutes.map(|text| text.parse::<f64>().expect("MINUTES is a number"));
        Size {
            time: minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0 / f64::from(RUNS))),
        }
    }

    /// `long` in a long run.
    fn pick<T>(self, short: T, long: T) -> T {
        if self.time.is_some() { long } else { short }
    }

    /// Rounds until the time is over, one at least.
    fn goes_on(self, started: Instant) -> bool {
        self.time.is_some_and(|time| started.elapsed() < time)
    }
}

/// A server with its data.
struct Server {
    folder: tempfile::TempDir,
    process: Process,
    args: Vec<String>,
}

impl Server {
    fn start(args: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let process = launch(folder.path().into(), &args);
        Server { folder, process, args }
    }

    /// Killed, and started again over the same data.
    fn kill(self) -> Server {
        self.process.kill();
        let process = launch(self.folder.path().into(), &self.args);
        Server { folder: self.folder, process, args: self.args }
    }

    fn address(&self) -> &str {
        &self.process.address
    }

    fn disk_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.folder.path().join("data")).unwrap();
        files.map(|file| file.unwrap().metadata().map_or(0, |file| file.len())).sum()
    }

    async fn ask(&self, kind: &str, path: &str, args: Json) -> Json {
        call(self.address(), kind, path, args).await
    }

    /// How often a body ran.
    async fn executions(&self, name: &str) -> f64 {
        let state = self.ask("action", "server:state", json!({})).await;
        state["executions"][name].as_f64().unwrap_or_default()
    }
}

fn launch(folder: PathBuf, args: &[String]) -> Process {
    let mut command: Command = base_server(&folder.join("data"));
    command.args(args);
    Process::start(command, &folder.join("log"))
}

/// Calls a function over HTTP.
async fn call(address: &str, kind: &str, path: &str, args: Json) -> Json {
    let call = json!({ "path": path, "args": args }).to_string();
    let answer = exchange(address, post(&format!("/api/{kind}"), "", &call).as_bytes()).await;
    let answer = body(&answer);
    assert_eq!(answer["status"], "success", "{path}: {answer}");
    answer["value"].clone()
}

/// The time at which so many hundredths were done.
fn percentile(times: &mut [Duration], hundredths: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * hundredths / 100).min(times.len() - 1)]
}
