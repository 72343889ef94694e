//! A server with the functions of the benchmarks, as a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};
use engine::{Clock, Engine, Env, Options, Random};
use functions::{InstanceSecret, Pool, Runtime, RuntimeParts};
use server::auth::{Authenticator, HttpFetch, Verifier, VerifierOptions};
use server::service::{Service, ServiceOptions};
use store::{SqliteOptions, SqliteStore, Store};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use value::Timestamp;

struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "the border where time enters")]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the operating system gives random bytes");
        seed
    }
}

/// A runtime of the benchmarks' functions over a store.
pub(crate) fn runtime(store: Arc<dyn Store>) -> Result<Arc<Runtime>> {
    let env = Env { clock: Arc::new(WallClock), random: Arc::new(SystemRandom) };
    let engine = Engine::open(store, env, Options::default())?;
    let application = crate::app::app().build()?;
    if let Some(schema) = application.schema {
        engine.apply_schema(schema)?;
    }
    Ok(Runtime::new(RuntimeParts {
        engine,
        registry: application.registry,
        secret: secret(),
        instance_name: Arc::from("bench"),
        options: functions::RuntimeOptions::default(),
    }))
}

fn secret() -> InstanceSecret {
    InstanceSecret::new([7; 32])
}

/// Serves until it is killed; says on its first line where.
pub(crate) fn serve(async_runtime: &tokio::runtime::Runtime, data: &Path) -> Result<()> {
    let runtime = runtime(Arc::new(SqliteStore::open(data, &SqliteOptions::default())?))?;
    let _pool = Pool::start(&runtime, 2)?;
    let fetch = Arc::new(HttpFetch::new());
    let verifier = Verifier::new(Vec::new(), fetch, VerifierOptions::default());
    async_runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let (_stop, stopping) = tokio::sync::watch::channel(false);
        let service = Service {
            runtime: Arc::clone(&runtime),
            authenticator: Arc::new(Authenticator::new(secret(), "bench", verifier)),
            watching: Arc::default(),
            codecs: Arc::default(),
            options: ServiceOptions::default(),
            stopping: stopping.clone(),
        };
        let limits = server::listen::ConnectionLimits::default();
        server::listen::serve(listener, server::router(service), limits, stopping).await;
        Ok(())
    })
}

/// A server that ends with its owner.
pub(crate) struct Host {
    /// `address:port`.
    pub(crate) address: String,
    child: Child,
    _data: tempfile::TempDir,
}

impl Host {
    /// Starts a server with an empty database.
    pub(crate) async fn start() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg("--data")
            .arg(data.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        Ok(Self { address: line.context("the server did not start")?, child, _data: data })
    }

    /// Processor time used so far, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> Result<f64> {
        let pid = self.child.id().context("the server has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit(')').next().context("stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) * 10.0)
    }
}
