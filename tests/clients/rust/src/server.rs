//! A server under test: its own data folder and free ports, ready when `start` returns.
//!
//! The program comes from CONCAVE_BIN, else from the debug build of the workspace beside this one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(20);

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// `concave serve` with the chat application, on 127.0.0.1. Dropped, it ends and its data is gone.
pub struct Server {
    /// Where it listens; the same after a restart.
    pub port: u16,
    data: PathBuf,
    child: Child,
    // Kept open: the program writes to it.
    _stdout: Option<BufReader<ChildStdout>>,
}

impl Server {
    /// A server on an empty folder.
    pub async fn start() -> Server {
        Self::start_with(serve).await
    }

    /// The `base` application of the tests, which has actions; it knows no users and cannot be
    /// restarted.
    pub async fn start_base() -> Server {
        Self::start_with(|data, _| {
            let mut command = Command::new(program().with_file_name("base-server"));
            command.arg(data);
            command
        })
        .await
    }

    async fn start_with(command: impl Fn(&Path, u16) -> Command) -> Server {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("concave-clients-{}-{serial}", std::process::id());
        let data = std::env::temp_dir().join(name);
        std::fs::create_dir(&data).expect("a data folder");
        let (child, stdout, port) = spawn(command(&data, 0)).await;
        Server { port, data, child, _stdout: Some(stdout) }
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A token of `user` that is good for an hour.
    pub async fn token(&self, user: &str) -> String {
        self.short_token(user, 3600).await
    }

    /// A token of `user` that is good for some seconds.
    pub async fn short_token(&self, user: &str, ttl_seconds: u32) -> String {
        self.concave(&["token", "--user", user, "--ttl", &ttl_seconds.to_string()]).await
    }

    /// The admin key of this data folder.
    pub async fn admin_key(&self) -> String {
        self.concave(&["admin-key"]).await
    }

    /// Ends the process without warning, as a loss of power would end it.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the server ends");
    }

    /// Asks the process to end in order; true if it says that it did.
    pub async fn stop(&mut self) -> bool {
        let pid = self.child.id().expect("the server runs").to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill is there");
        let ended = timeout(STOP_MAX, self.child.wait()).await.expect("the server stops in time");
        ended.expect("the server was started here").success()
    }

    /// A new process on the same data and port, after `kill` or `stop`.
    pub async fn restart(&mut self) {
        let (child, stdout, port) = spawn(serve(&self.data, self.port)).await;
        assert_eq!(port, self.port);
        (self.child, self._stdout) = (child, Some(stdout));
    }

    async fn concave(&self, args: &[&str]) -> String {
        let output =
            Command::new(program()).args(args).arg("--data").arg(&self.data).output().await;
        let output = output.expect("the program is built");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It must be gone before its folder: it would write into it.
        let _ = self.child.start_kill();
        while let Ok(None) = self.child.try_wait() {
            std::thread::yield_now();
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn program() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../target/debug/concave");
    std::env::var_os("CONCAVE_BIN").unwrap_or_else(|| beside.into()).into()
}

fn serve(data: &Path, port: u16) -> Command {
    let mut command = Command::new(program());
    command.args(["serve", "--app", "presence", "--dev-auth", "--site-port", "0", "--log", "warn"]);
    command.args(["--port", &port.to_string()]).arg("--data").arg(data);
    command
}

async fn spawn(mut command: Command) -> (Child, BufReader<ChildStdout>, u16) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program is built");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    let port = loop {
        line.clear();
        let read = timeout(START_MAX, stdout.read_line(&mut line)).await;
        let length = read.expect("the server starts in time").expect("text");
        assert!(length > 0, "the server ended before it listened");
        if let Some(port) = line.trim_end().strip_prefix("listening on http://127.0.0.1:") {
            break port.parse().expect("a port");
        }
    };
    (child, stdout, port)
}
