//! The `base` application as a server of its own, for clients' tests of what the presence application
//! does not have: actions.
//!
//!     base-server DATA [PORT]
//!
//! Says `listening on http://ADDRESS` when it is ready, as the program does.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};
use engine::{Clock, Engine, Env, Options, Random};
use functions::{InstanceSecret, Pool, Runtime, RuntimeParts};
use server::auth::{Authenticator, HttpFetch, Verifier, VerifierOptions};
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

fn main() -> Result<()> {
    let data = std::env::args().nth(1).context("usage: base-server DATA [PORT]")?;
    let port = std::env::args().nth(2).map_or(Ok(0), |port| port.parse::<u16>())?;
    let store = Arc::new(SqliteStore::open(data, &SqliteOptions::default())?);
    let env = Env { clock: Arc::new(WallClock), random: Arc::new(SystemRandom) };
    let engine = Engine::open(store, env, Options::default())?;
    let application = tests::app::base().build()?;
    engine.apply_schema(application.schema.context("the base application has tables")?)?;
    let secret = InstanceSecret::new([7; 32]);
    let runtime = Runtime::new(RuntimeParts {
        engine,
        registry: application.registry,
        secret: secret.clone(),
        instance_name: Arc::from("base"),
    });
    let _pool = Pool::start(&runtime, 2)?;
    let fetch = Arc::new(HttpFetch::new());
    let verifier = Verifier::new(Vec::new(), fetch, VerifierOptions::default());
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let (_stop, stopping) = tokio::sync::watch::channel(false);
        let service = Service {
            runtime,
            authenticator: Arc::new(Authenticator::new(secret, "base", verifier)),
            watching: Arc::default(),
            codecs: Arc::default(),
            options: ServiceOptions { show_errors: true },
            stopping: stopping.clone(),
        };
        let limits = server::listen::ConnectionLimits::default();
        server::listen::serve(listener, server::router(service), limits, stopping).await;
        Ok(())
    })
}
