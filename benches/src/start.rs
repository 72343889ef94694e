//! Empty start to the first answer over HTTP, and resident memory when nothing happens.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::stats::{Stopwatch, summarize};

/// Runs the workload and prints its figures.
pub(crate) fn run(program: &Path, rounds: usize) -> Result<()> {
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let data = tempfile::tempdir()?;
        let port = free_port()?;
        let watch = Stopwatch::start();
        let mut child = Command::new(program)
            .args(["serve", "--site-port", "0", "--log", "error", "--port"])
            .arg(port.to_string())
            .arg("--data")
            .arg(data.path())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let answered = answers(port, watch);
        times.push(watch.ms());
        std::thread::sleep(Duration::from_millis(500));
        memory.push(resident_mb(child.id()).unwrap_or_default());
        child.kill()?;
        child.wait()?;
        answered?;
    }
    println!("start: {rounds} rounds, empty database");
    println!("  ms from spawn to the first answer: {}", summarize(times));
    println!("  MiB resident, idle: {}", summarize(memory));
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Asks until there is an answer.
fn answers(port: u16, watch: Stopwatch) -> Result<()> {
    while watch.ms() < 10_000.0 {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.write_all(b"GET /version HTTP/1.0\r\nHost: x\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            if answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            bail!("the server answers {answer:?}");
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    bail!("no answer within ten seconds")
}

fn resident_mb(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
