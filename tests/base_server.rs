//! The `base` application as a server of its own, for tests of what the presence application does not
//! have: actions, bursts of jobs, and how often bodies ran.
//!
//!     base-server DATA [PORT] [--retention-seconds N] [--head-seconds N] [--cache-mib N]
//!
//! Says `listening on http://ADDRESS` when it is ready, as the program does, and has its development
//! issuer. `server:state` is an action that tells what bodies ran and what is held.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use engine::{Clock, Engine, Env, Options, Random};
use functions::{ActionCtx, App, InstanceSecret, Pool, Runtime, RuntimeParts};
use server::auth::dev_issuer::DevIssuer;
use server::auth::{Authenticator, HttpFetch, Verifier, VerifierOptions, parse_config};
use server::listen::ConnectionLimits;
use server::service::{Service, ServiceOptions};
use store::{SqliteOptions, SqliteStore};
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

struct Args {
    data: PathBuf,
    port: u16,
    retention: Option<Duration>,
    head_timeout: Option<Duration>,
    cache_mib: Option<usize>,
}

impl Args {
    fn read() -> Result<Args> {
        let mut args = std::env::args().skip(1).peekable();
        let data = args.next().context("usage: base-server DATA [PORT] [--NAME NUMBER]…")?;
        let port = args.next_if(|next| !next.starts_with("--"));
        let mut read = Args {
            data: PathBuf::from(data),
            port: port.map_or(Ok(0), |port| port.parse())?,
            retention: None,
            head_timeout: None,
            cache_mib: None,
        };
        while let Some(name) = args.next() {
            let number: u32 = args.next().context("an option needs a value")?.parse()?;
            let seconds = Some(Duration::from_secs(number.into()));
            match name.as_str() {
                "--retention-seconds" => read.retention = seconds,
                "--head-seconds" => read.head_timeout = seconds,
                "--cache-mib" => read.cache_mib = Some(number as usize),
                other => bail!("no option {other}"),
            }
        }
        Ok(read)
    }
}

/// The base application, and an action that tells about the server itself.
fn application(runtime: &Arc<OnceLock<Arc<Runtime>>>) -> App {
    let runtime = Arc::clone(runtime);
    tests::app::base().action("server:state", move |_: ActionCtx, (): ()| {
        let runtime = Arc::clone(runtime.get().expect("it runs since before anybody can ask"));
        async move {
            let live = runtime.live().stats();
            Ok(tests::app::ServerState {
                executions: tests::app::executions(),
                shown: live.entries as f64,
                idle: live.idle as f64,
                sessions: live.sessions as f64,
            })
        }
    })
}

fn main() -> Result<()> {
    let args = Args::read()?;
    let store = Arc::new(SqliteStore::open(&args.data, &SqliteOptions::default())?);
    let env = Env { clock: Arc::new(WallClock), random: Arc::new(SystemRandom) };
    let mut options = Options::default();
    if let Some(retention) = args.retention {
        options.retention_ns = u64::try_from(retention.as_nanos())?;
    }
    if let Some(mib) = args.cache_mib {
        options.cache_bytes = mib << 20;
    }
    let engine = Engine::open(store, env, options)?;
    let running = Arc::new(OnceLock::new());
    let application = application(&running).build()?;
    engine.apply_schema(application.schema.context("the base application has tables")?)?;
    let secret = InstanceSecret::new([7; 32]);
    let runtime = Runtime::new(RuntimeParts {
        engine,
        registry: application.registry,
        secret: secret.clone(),
        instance_name: Arc::from("base"),
        options: functions::RuntimeOptions::default(),
    });
    let _ = running.set(Arc::clone(&runtime));
    let _pool = Pool::start(&runtime, 2)?;
    let issuer = DevIssuer::open(&args.data)?;
    let config = serde_json::json!({ "providers": [issuer.provider()] });
    let fetch = Arc::new(HttpFetch::new());
    let verifier = Verifier::new(parse_config(&config)?, fetch, VerifierOptions::default());
    let mut limits = ConnectionLimits::default();
    limits.head_timeout = args.head_timeout.unwrap_or(limits.head_timeout);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port)).await?;
        let (_stop, stopping) = tokio::sync::watch::channel(false);
        let due = Arc::clone(&runtime);
        tokio::spawn(async move { due.run_due().await.expect("jobs run") });
        println!("listening on http://{}", listener.local_addr()?);
        let service = Service {
            runtime,
            authenticator: Arc::new(Authenticator::new(secret, "base", verifier)),
            watching: Arc::default(),
            codecs: Arc::default(),
            options: ServiceOptions::default(),
            stopping: stopping.clone(),
        };
        let router = server::dev_router(service, Arc::new(issuer));
        server::listen::serve(listener, router, limits, stopping).await;
        Ok(())
    })
}
