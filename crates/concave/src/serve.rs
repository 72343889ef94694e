//! `concave serve`: opens the data, starts the threads, listens, and stops without losing anything.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use engine::{Engine, Options, TxError};
use functions::{Application, Pool, Registry, Runtime, RuntimeParts};
use server::auth::dev_issuer::DevIssuer;
use server::auth::{
    Authenticator, HttpFetch, Origins, Provider, RouterFetch, Verifier, VerifierOptions,
    parse_config,
};
use server::http::backup;
use server::http::operation::{self, OutsideOrigins};
use server::listen;
use server::service::Service;
use server::socket::Codecs;
use server::watching::{MetricsAccess, Watching};
use store::{SqliteOptions, SqliteStore};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::backup::RunningData;
use crate::config::{App, Config, Deployment};
use crate::{env, instance, open_files};

/// How long connections may take to end after the signal to stop. What was acknowledged is on disk
/// whenever they end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(config: &Config) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)
        .with_context(|| format!("cannot understand log filter {:?}", config.log))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .init();
    open_files::raise(config.connections.connections_max);
    let runtime = open(config)?;
    let workers = match config.workers {
        0 => std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
        workers => workers,
    };
    let pool = Pool::start(&runtime, workers)?;
    let sockets = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = sockets.block_on(accept(config, Arc::clone(&runtime)));
    sockets.shutdown_background();
    pool.stop();
    served
}

/// The data, with the application's tables and crons in place.
fn open(config: &Config) -> Result<Arc<Runtime>> {
    let secret = instance::secret(&config.deployment)?;
    let sqlite = SqliteOptions {
        durability: config.durability,
        cache_bytes: config.sqlite_cache_bytes as u64,
        ..SqliteOptions::default()
    };
    let database = &config.deployment.data.database;
    let store = SqliteStore::open_file(database, &sqlite)
        .with_context(|| format!("cannot open the data in {}", database.display()))?;
    let engine_options = Options {
        cache_bytes: config.cache_bytes,
        retention_ns: config.retention_seconds.saturating_mul(1_000_000_000),
        limits: config.limits,
    };
    let engine = Engine::open(Arc::new(store), env::real(), engine_options)?;
    let application = match config.app {
        App::Presence => Some(presence::app().build()?),
        App::None => None,
    };
    let registry = match &application {
        Some(application) => application.registry.clone(),
        None => Registry::default(),
    };
    let instance_name = Arc::from(config.deployment.name.as_str());
    let options = config.runtime;
    let parts =
        RuntimeParts { engine: Arc::clone(&engine), registry, secret, instance_name, options };
    if let Some(application) = &application {
        install(&engine, application)?;
    }
    Ok(Runtime::new(parts))
}

/// Brings tables, indexes and crons to what the application declares.
fn install(engine: &Arc<Engine>, application: &Application) -> Result<()> {
    if let Some(schema) = &application.schema {
        engine.apply_schema(schema.clone())?;
    }
    let env = env::real();
    let random = || {
        let seed = env.random.seed();
        u64::from_le_bytes(*seed.first_chunk().expect("a seed is 32 bytes"))
    };
    engine.transact(|tx| {
        let now = env.clock.now();
        let synced = functions::crons::sync(tx, &application.crons, now, random);
        synced.map_err(|error| TxError::developer("InternalServerError", error.message()))
    })?;
    Ok(())
}

async fn accept(config: &Config, runtime: Arc<Runtime>) -> Result<()> {
    let (stop, stopping) = watch::channel(false);
    // Before anybody is told that this runs: from then on it may be asked to stop.
    let signals = Signals::new()?;
    let listener = bind(SocketAddr::new(config.interface, config.port)).await?;
    let site = bind(SocketAddr::new(config.interface, config.site_port)).await?;
    let (address, site_address) = (listener.local_addr()?, site.local_addr()?);
    let origins = origins(config, address, site_address);
    let (own, own_site) = (RouterFetch::new(), RouterFetch::new());
    let fetch = Origins::new(Arc::new(HttpFetch::new()))
        .with(&origins.clients, Arc::new(own.clone()))
        .with(&origins.site, Arc::new(own_site.clone()));
    let service = Service {
        authenticator: Arc::new(authenticator(config, &runtime, fetch)?),
        watching: Arc::new(watching(config)),
        codecs: Arc::new(Codecs::new(config.deflate_bytes)),
        options: config.service,
        runtime: Arc::clone(&runtime),
        stopping: stopping.clone(),
    };
    let due = Arc::clone(&runtime);
    tokio::spawn(async move {
        if let Err(error) = due.run_due().await {
            tracing::error!(%error, "scheduled functions and crons do not run");
        }
    });
    let operated = service.clone();
    let router = match dev_issuer(config)? {
        Some(issuer) => server::dev_router(service, Arc::new(issuer)),
        None => server::router(service),
    };
    let router = operation::beside(router, operated.clone(), origins);
    let Deployment { data, name, .. } = &config.deployment;
    let backups = RunningData::new(data, name, runtime.secret().as_ref().clone());
    let router = backup::beside(router, operated, Arc::new(backups));
    // From now on tokens of this very server can be verified.
    own.serve(router.clone());
    own_site.serve(server::site_router());
    let limits = config.connections;
    let clients = listen::serve(listener, router, limits, stopping.clone());
    let site = listen::serve(site, server::site_router(), limits, stopping);
    // Whoever started this may have closed the pipe; that is no reason to end.
    let _ = writeln!(std::io::stdout(), "listening on http://{address}");
    tracing::info!(
        clients = %address, http_actions = %site_address,
        data = %config.deployment.data.database.display(), "serving"
    );
    tokio::select! {
        ((), ()) = async { tokio::join!(clients, site) } => {}
        () = end(signals, stop) => {}
    }
    Ok(())
}

/// Where this is reached from outside; what nobody told is this machine.
fn origins(config: &Config, clients: SocketAddr, site: SocketAddr) -> OutsideOrigins {
    let local = |address: SocketAddr| format!("http://127.0.0.1:{}", address.port());
    let trimmed = |origin: &String| origin.trim_end_matches('/').to_owned();
    OutsideOrigins {
        clients: config.origin.as_ref().map_or_else(|| local(clients), trimmed),
        site: config.site_origin.as_ref().map_or_else(|| local(site), trimmed),
    }
}

/// Ends when whoever is connected has had its time after the first signal, or at the second one.
async fn end(mut signals: Signals, stop: watch::Sender<bool>) {
    signals.next().await;
    tracing::info!("stopping");
    let _ = stop.send(true);
    tokio::select! {
        () = signals.next() => tracing::warn!("stopping at once"),
        () = tokio::time::sleep(SHUTDOWN) => {
            tracing::warn!("some connections did not end in time");
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// The signals that ask the program to stop.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// What is counted from now on, and who may look.
fn watching(config: &Config) -> Watching {
    let metrics = match &config.metrics_token {
        Some(token) => MetricsAccess::token(token),
        None if config.metrics_open => MetricsAccess::Open,
        None => MetricsAccess::AdminKey,
    };
    Watching::new(metrics, env::real().clock.now())
}

/// The development issuer, if it was asked for.
fn dev_issuer(config: &Config) -> Result<Option<DevIssuer>> {
    let issuer = config.dev_auth.then(|| DevIssuer::open(&config.deployment.data.folder));
    Ok(issuer.transpose()?)
}

/// Who may sign in: the configured providers, and the development issuer if asked for.
fn authenticator(config: &Config, runtime: &Runtime, fetch: Origins) -> Result<Authenticator> {
    let mut providers = match &config.auth_config {
        Some(auth) => {
            let text = if auth.trim_start().starts_with('{') {
                auth.clone()
            } else {
                std::fs::read_to_string(auth)
                    .with_context(|| format!("cannot read auth config {auth}"))?
            };
            let json = serde_json::from_str(&text).context("the auth config is not JSON")?;
            parse_config(&json).context("the auth config is not one")?
        }
        None => Vec::new(),
    };
    for url in providers.iter().flat_map(Provider::plain_urls) {
        tracing::warn!(%url, "keys come over plain http: whoever is on the way can sign in as anybody");
    }
    if let Some(issuer) = dev_issuer(config)? {
        let own = serde_json::json!({ "providers": [issuer.provider()] });
        providers.extend(parse_config(&own)?);
        if !config.interface.is_loopback() {
            tracing::warn!("--dev-auth on a public interface: anybody can sign in as anybody");
        }
    }
    let options = VerifierOptions { redact: !config.service.show_errors };
    let verifier = Verifier::new(providers, Arc::new(fetch), options);
    let instance = runtime.instance_name();
    Ok(Authenticator::new(runtime.secret().as_ref().clone(), instance, verifier))
}
