//! A server as a process of its own: started, killed, asked to end, measured.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A server under test. One that is dropped is killed.
pub struct Process {
    child: Child,
    /// Where it listens: host and port.
    pub address: String,
}

/// The base application's server, of the build that this test is of.
pub fn base_server(data: &Path) -> Command {
    let test = std::env::current_exe().expect("a test has a path");
    let path = test.ancestors().nth(2).expect("target/debug/deps/it").join("base-server");
    let mut command = Command::new(path);
    command.arg(data);
    command
}

impl Process {
    /// Starts a server that says `listening on http://ADDRESS` first. What it says later on standard
    /// error is appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let errors = std::fs::File::options().create(true).append(true).open(log);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(errors.expect("the log can be written"))
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; cargo build --workspace"));
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("it says something");
        let address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        let log = || std::fs::read_to_string(log).unwrap_or_default();
        let address = address.unwrap_or_else(|| panic!("it did not start: {line:?} {}", log()));
        Self { child, address }
    }

    /// No goodbye.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there");
        assert!(sent.success());
        self.child.wait().expect("it has ended")
    }

    /// Resident memory of its own in bytes, as Linux counts it: without the pages of files, which the
    /// system takes back when it needs them.
    pub fn resident_bytes(&self) -> u64 {
        let path = PathBuf::from(format!("/proc/{}/status", self.child.id()));
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).expect("a line RssAnon");
        kib.parse::<u64>().expect("a number of KiB") << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails must not leave it behind; one that has ended already says so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
