//! The command line of the official local backend, so that tools which start that program can start
//! this one.
//!
//! No application is compiled in then. What has no meaning here is accepted and does nothing; what
//! would change where the data is, and cannot be had, is refused.
//! Source: spec/deploy-api.md; npm convex 1.48.0, which starts it with `--help` first.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand, ValueEnum};

use crate::args::Command;
use crate::config::{Config, Data, Deployment};
use crate::settings::{Kind, Layers};

/// First words that are ours, whatever follows.
const OWN: &[&str] = &["--help", "-h", "--version", "-V"];

/// Flags without which the official backend does not start.
const REQUIRED: &[&str] = &["--instance-name", "--instance-secret"];

/// Serves in place of the official local backend: its flags, no compiled-in application.
#[derive(Parser, Debug)]
#[command(name = "concave", version)]
struct Official {
    /// Database file; made if it is missing.
    #[arg(default_value = "convex_local_backend.sqlite3")]
    db_spec: PathBuf,
    /// Kind of database; only sqlite is there.
    #[arg(short, long, value_enum, default_value_t = Driver::Sqlite)]
    db: Driver,
    /// Address to listen on.
    #[arg(short, long, default_value = "0.0.0.0")]
    interface: String,
    /// Port of clients: WebSocket and HTTP.
    #[arg(short, long, default_value = "3210")]
    port: String,
    /// Port of HTTP actions.
    #[arg(long, default_value = "3211")]
    site_proxy_port: String,
    /// URL at which clients reach the first port from outside.
    #[arg(long, requires = "convex_site")]
    convex_origin: Option<String>,
    /// URL at which HTTP actions are reached from outside.
    #[arg(long, requires = "convex_origin")]
    convex_site: Option<String>,
    /// Name of the deployment.
    #[arg(long, requires = "instance_secret")]
    instance_name: Option<String>,
    /// Secret of the deployment, 64 hex digits.
    #[arg(long)]
    instance_secret: Option<String>,
    /// Hide texts of errors and log lines from clients.
    #[arg(long)]
    redact_logs_to_client: bool,
    #[command(flatten)]
    ignored: Ignored,
    #[command(subcommand)]
    keygen: Option<Keygen>,
}

/// Accepted, without effect.
#[derive(clap::Args, Debug)]
struct Ignored {
    /// Folder of files; unused, as there is no file storage yet.
    #[arg(long, default_value = "convex_local_storage", conflicts_with = "s3_storage")]
    local_storage: PathBuf,
    /// Refused: there is no file storage in S3.
    #[arg(long)]
    s3_storage: bool,
    /// Without effect: nothing is ever sent to a beacon.
    #[arg(long, env = "DISABLE_BEACON", value_parser = BoolishValueParser::new())]
    disable_beacon: bool,
    #[arg(long, hide = true)]
    beacon_tag: Option<String>,
    #[arg(long, hide = true)]
    beacon_fields: Option<String>,
    #[arg(long, hide = true)]
    sentry_identifier: Option<String>,
    #[arg(long, hide = true)]
    control_plane_url: Option<String>,
    #[arg(long, hide = true)]
    control_plane_access_token: Option<String>,
    /// Without effect: there is no database that would need it.
    #[arg(long)]
    do_not_require_ssl: bool,
    /// Without effect: no function fetches anything yet.
    #[arg(long)]
    convex_http_proxy: Option<String>,
    /// Without effect: the log goes to standard error.
    #[arg(long)]
    local_log_sink: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Driver {
    Sqlite,
    PostgresV5,
    #[value(name = "mysql-v5")]
    MysqlV5,
}

#[derive(Subcommand, Debug)]
enum Keygen {
    /// Make keys without starting the server.
    Keygen {
        #[command(subcommand)]
        kind: KeygenKind,
    },
}

#[derive(Subcommand, Debug)]
enum KeygenKind {
    /// Print an admin key of an instance.
    AdminKey {
        /// Name of the deployment.
        #[arg(long)]
        instance_name: String,
        /// Secret of the deployment, 64 hex digits.
        #[arg(long)]
        instance_secret: String,
    },
}

/// Whether a command line is one of the official backend: none of our commands is named, and one of
/// its flags is there.
pub(crate) fn is_meant(line: &[OsString]) -> bool {
    let words = || line.iter().skip(1).filter_map(|word| word.to_str());
    let Some(first) = words().next() else { return false };
    if OWN.contains(&first) {
        return false;
    }
    let is_required = |word: &str| {
        REQUIRED.iter().any(|flag| {
            word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    first == "keygen" || first.starts_with('-') || !is_command(first) && words().any(is_required)
}

fn is_command(word: &str) -> bool {
    ["serve", "token", "admin-key", "backup", "restore", "config", "help"].contains(&word)
}

/// What the line asks for. Errors: what cannot be had here; settings that are wrong.
pub(crate) fn read(line: &[OsString]) -> Result<Command> {
    let options = Official::parse_from(line);
    if let Some(Keygen::Keygen { kind }) = options.keygen {
        let KeygenKind::AdminKey { instance_name, instance_secret } = kind;
        for (flag, kind, text) in [
            ("--instance-name", Kind::Name, &instance_name),
            ("--instance-secret", Kind::Secret, &instance_secret),
        ] {
            kind.check(text).map_err(|why| anyhow::anyhow!("{flag} {why}"))?;
        }
        let deployment = Deployment::with_secret(&instance_name, &instance_secret)?;
        return Ok(Command::AdminKey { deployment, is_read_only: false });
    }
    serve(options)
}

fn serve(options: Official) -> Result<Command> {
    if options.db != Driver::Sqlite {
        bail!("--db: only sqlite is there");
    }
    if options.ignored.s3_storage {
        bail!("--s3-storage: there is no file storage in S3");
    }
    let mut flags = vec![
        ("port", options.port),
        ("site-port", options.site_proxy_port),
        ("interface", options.interface),
    ];
    let some = [
        ("origin", options.convex_origin),
        ("site-origin", options.convex_site),
        ("instance-name", options.instance_name),
        ("instance-secret", options.instance_secret),
    ];
    // An empty origin is one that is not known yet.
    flags.extend(
        some.into_iter()
            .filter_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?))),
    );
    if options.redact_logs_to_client {
        flags.push(("redact-errors", true.to_string()));
    }
    flags.push(("data", path_text(&options.db_spec)?));
    let mut layers = Layers::gather(flags, None)?;
    for (name, flag) in [
        ("site-port", "--site-proxy-port"),
        ("origin", "--convex-origin"),
        ("site-origin", "--convex-site"),
    ] {
        layers.spell(name, flag);
    }
    layers.default_to("app", "none");
    let values = layers.resolve()?;
    if values.some("instance-secret").or(values.some("instance-secret-file")).is_none() {
        bail!("--instance-secret is required: `openssl rand -hex 32` makes one");
    }
    let mut config = Config::new(&values)?;
    // The last argument is a file, however it is called.
    config.deployment.data = Data::file(&options.db_spec);
    Ok(Command::Serve(Box::new(config)))
}

fn path_text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Official::command().debug_assert();
    }

    #[test]
    fn which_lines_are_meant_for_the_official_backend() {
        let check = |line: &str, expected: bool| {
            let words: Vec<OsString> = ["concave"]
                .into_iter()
                .chain(line.split_whitespace())
                .map(OsString::from)
                .collect();
            assert_eq!(is_meant(&words), expected, "{line}");
        };
        check("", false);
        check("--help", false);
        check("--version", false);
        check("serve --instance-secret x", false);
        check("backup x --instance-name y", false);
        check("sevre", false);
        check("--port 1 db.sqlite3", true);
        check("db.sqlite3 --instance-name a --instance-secret=b", true);
        check("keygen admin-key", true);
    }
}
