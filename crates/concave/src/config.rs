//! Settings in the form in which the program uses them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use engine::Limits;
use functions::{InstanceSecret, RuntimeOptions};
use protocol::SessionLimits;
use server::http::HttpLimits;
use server::listen::ConnectionLimits;
use server::service::{ServiceOptions, SocketLimits};

use crate::settings::Values;

/// The database inside a data folder.
const DATABASE_FILE: &str = "concave.sqlite3";

/// How a path ends that names a database file and not a folder.
const DATABASE_ENDING: &str = "sqlite3";

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    /// Where secret and keys are, beside the database.
    pub(crate) folder: PathBuf,
    /// The database.
    pub(crate) database: PathBuf,
}

impl Data {
    fn new(path: &Path) -> Data {
        if path.extension().is_some_and(|ending| ending == DATABASE_ENDING) {
            return Data::file(path);
        }
        Data { folder: path.to_owned(), database: path.join(DATABASE_FILE) }
    }

    /// Data whose database is this file.
    pub(crate) fn file(path: &Path) -> Data {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Data { folder: folder.unwrap_or(Path::new(".")).to_owned(), database: path.to_owned() }
    }
}

/// What identifies a deployment.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    pub(crate) data: Data,
    pub(crate) name: String,
    /// `None`: the one in the data folder.
    pub(crate) secret: Option<InstanceSecret>,
}

impl Deployment {
    /// Errors: a file of the secret that cannot be read or holds none.
    pub(crate) fn new(values: &Values) -> Result<Deployment> {
        let secret = match (values.some("instance-secret"), values.some("instance-secret-file")) {
            (Some(hex), _) => Some(secret(&hex).context("instance-secret")?),
            (None, Some(file)) => Some(read_secret(Path::new(&file))?),
            (None, None) => None,
        };
        Ok(Deployment {
            data: Data::new(Path::new(values.text("data"))),
            name: values.text("instance-name").to_owned(),
            secret,
        })
    }

    /// A deployment whose data is not looked at.
    pub(crate) fn with_secret(name: &str, hex: &str) -> Result<Deployment> {
        let data = Data::new(Path::new(""));
        Ok(Deployment { data, name: name.to_owned(), secret: Some(secret(hex)?) })
    }
}

/// The secret in a file. Errors: it cannot be read, or holds none.
pub(crate) fn read_secret(path: &Path) -> Result<InstanceSecret> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the secret in {}", path.display()))?;
    secret(text.trim()).with_context(|| format!("cannot use {}", path.display()))
}

fn secret(hex: &str) -> Result<InstanceSecret> {
    let secret = InstanceSecret::from_hex(&hex.to_ascii_lowercase());
    secret.context("a secret has 64 hex digits")
}

/// Everything that `serve` needs to know.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) deployment: Deployment,
    pub(crate) port: u16,
    pub(crate) site_port: u16,
    pub(crate) interface: IpAddr,
    pub(crate) connections: ConnectionLimits,
    /// What requests and sockets may take, and what clients are shown.
    pub(crate) service: ServiceOptions,
    /// Memory for compressors.
    pub(crate) deflate_bytes: usize,
    /// How much runs at once and is kept.
    pub(crate) runtime: RuntimeOptions,
    pub(crate) origin: Option<String>,
    pub(crate) site_origin: Option<String>,
    pub(crate) durability: store::Durability,
    pub(crate) cache_bytes: usize,
    pub(crate) sqlite_cache_bytes: usize,
    pub(crate) retention_seconds: u64,
    pub(crate) auth_config: Option<String>,
    pub(crate) dev_auth: bool,
    pub(crate) app: App,
    /// 0: as many as there are processors.
    pub(crate) workers: usize,
    pub(crate) limits: Limits,
    pub(crate) log: String,
    pub(crate) metrics_token: Option<String>,
    /// Without effect beside a token.
    pub(crate) metrics_open: bool,
}

/// The application that is compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum App {
    Presence,
    None,
}

impl Config {
    /// Errors: as [`Deployment::new`].
    pub(crate) fn new(values: &Values) -> Result<Config> {
        Ok(Config {
            deployment: Deployment::new(values)?,
            port: values.parsed("port")?,
            site_port: values.parsed("site-port")?,
            interface: values.parsed("interface")?,
            connections: ConnectionLimits {
                connections_max: values.parsed("max-connections")?,
                head_timeout: values.seconds("head-seconds")?,
                idle_timeout: values.seconds("idle-seconds")?,
                write_timeout: values.seconds("write-seconds")?,
                ..ConnectionLimits::default()
            },
            service: service(values)?,
            deflate_bytes: values.mib("deflate-mb")?,
            runtime: RuntimeOptions {
                jobs_parallel: values.parsed("jobs-parallel")?,
                crons_parallel: values.parsed("crons-parallel")?,
                finished_jobs_kept: values.seconds("jobs-kept-seconds")?,
                idle_entries_max: values.parsed("idle-queries-max")?,
                idle_bytes_max: values.mib("idle-queries-mb")?,
                executions_kept: values.parsed("executions-kept")?,
            },
            origin: values.some("origin"),
            site_origin: values.some("site-origin"),
            durability: match values.text("durability") {
                "relaxed" => store::Durability::Relaxed,
                _ => store::Durability::Full,
            },
            cache_bytes: values.mib("cache-mb")?,
            sqlite_cache_bytes: values.mib("sqlite-cache-mb")?,
            retention_seconds: values.parsed("retention-seconds")?,
            auth_config: values.some("auth-config"),
            dev_auth: values.is_on("dev-auth")?,
            app: match values.text("app") {
                "presence" => App::Presence,
                _ => App::None,
            },
            workers: values.parsed("workers")?,
            limits: limits(values)?,
            log: values.text("log").to_owned(),
            metrics_token: values.some("metrics-token"),
            metrics_open: values.is_on("metrics-open")?,
        })
    }
}

fn limits(values: &Values) -> Result<Limits> {
    Ok(Limits {
        documents_read: values.parsed("documents-read-max")?,
        bytes_read: values.parsed("read-bytes-max")?,
        database_queries: values.parsed("ranges-read-max")?,
        documents_written: values.parsed("documents-written-max")?,
        bytes_written: values.parsed("write-bytes-max")?,
        functions_scheduled: values.parsed("functions-scheduled-max")?,
        scheduled_function_args_bytes: values.parsed("scheduled-bytes-max")?,
    })
}

fn service(values: &Values) -> Result<ServiceOptions> {
    let mutation_seconds: i64 = values.parsed("mutation-seconds")?;
    Ok(ServiceOptions {
        show_errors: !values.is_on("redact-errors")?,
        http: HttpLimits {
            requests_max: values.parsed("requests-max")?,
            request_timeout: values.seconds("request-seconds")?,
            body_bytes_max: values.parsed("body-bytes-max")?,
        },
        socket: SocketLimits {
            frame_bytes_max: values.parsed("frame-bytes-max")?,
            message_bytes_max: values.parsed("message-bytes-max")?,
            session: SessionLimits {
                queries_max: values.parsed("session-queries-max")?,
                held_bytes_max: values.parsed("session-bytes-max")?,
                mutation_ms_max: mutation_seconds.saturating_mul(1000),
                burst_interval_ms: values.parsed("burst-ms")?,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::Layers;

    /// The defaults of the table are those of the crates below.
    #[test]
    fn defaults_are_those_of_the_crates() {
        let config = Config::new(&Layers::default().resolve().unwrap()).unwrap();
        let engine = engine::Options::default();
        assert_eq!(config.limits, engine.limits);
        assert_eq!(config.cache_bytes, engine.cache_bytes);
        assert_eq!(config.retention_seconds * 1_000_000_000, engine.retention_ns);
        assert_eq!(config.connections, ConnectionLimits::default());
        assert_eq!(config.service, ServiceOptions::default());
        assert_eq!(config.runtime, RuntimeOptions::default());
        assert_eq!(config.deflate_bytes, server::socket::CONTEXTS_BYTES_MAX);
        let sqlite = store::SqliteOptions::default();
        assert_eq!(config.sqlite_cache_bytes as u64, sqlite.cache_bytes);
        assert_eq!(config.durability, sqlite.durability);
    }

    /// What each setting changes, and that it changes nothing else.
    #[test]
    fn each_limit_has_its_setting() {
        let read = |name: &'static str, text: &str| {
            let mut layers = Layers::default();
            layers.default_to(name, text);
            Config::new(&layers.resolve().unwrap()).unwrap()
        };
        let check = |name: &'static str, text: &str, change: fn(&mut Config)| {
            let mut expected = Config::new(&Layers::default().resolve().unwrap()).unwrap();
            change(&mut expected);
            assert_eq!(format!("{:?}", read(name, text)), format!("{expected:?}"), "{name}");
        };
        check("requests-max", "7", |it| it.service.http.requests_max = 7);
        check("request-seconds", "7", |it| {
            it.service.http.request_timeout = Duration::from_secs(7);
        });
        check("body-bytes-max", "7", |it| it.service.http.body_bytes_max = 7);
        check("frame-bytes-max", "7", |it| it.service.socket.frame_bytes_max = 7);
        check("message-bytes-max", "7", |it| it.service.socket.message_bytes_max = 7);
        check("session-queries-max", "7", |it| it.service.socket.session.queries_max = 7);
        check("session-bytes-max", "7", |it| it.service.socket.session.held_bytes_max = 7);
        check("mutation-seconds", "7", |it| it.service.socket.session.mutation_ms_max = 7000);
        check("burst-ms", "7", |it| it.service.socket.session.burst_interval_ms = 7);
        check("deflate-mb", "7", |it| it.deflate_bytes = 7 << 20);
        check("jobs-parallel", "7", |it| it.runtime.jobs_parallel = 7);
        check("crons-parallel", "7", |it| it.runtime.crons_parallel = 7);
        check("jobs-kept-seconds", "7", |it| {
            it.runtime.finished_jobs_kept = Duration::from_secs(7);
        });
        check("idle-queries-max", "7", |it| it.runtime.idle_entries_max = 7);
        check("idle-queries-mb", "7", |it| it.runtime.idle_bytes_max = 7 << 20);
        check("executions-kept", "7", |it| it.runtime.executions_kept = 7);
        check("redact-errors", "true", |it| it.service.show_errors = false);
        check("workers", "7", |it| it.workers = 7);
    }

    #[test]
    fn a_path_is_a_folder_or_a_database() {
        let check = |path: &str, folder: &str, database: &str| {
            let data = Data::new(Path::new(path));
            assert_eq!(data, Data { folder: folder.into(), database: database.into() });
        };
        check("/a/b", "/a/b", "/a/b/concave.sqlite3");
        check("/a/b.sqlite3", "/a", "/a/b.sqlite3");
        check("b.sqlite3", ".", "b.sqlite3");
    }
}
