//! Flags and environment variables: the one list of both.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum, value_parser};

/// A Convex-compatible backend: one program, one file of data.
#[derive(Parser)]
#[command(name = "concave", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve an application.
    Serve(Serve),
    /// Print a token of the development issuer, for a server that runs with --dev-auth.
    Token(Token),
    /// Print a key with which the official tools administer this deployment.
    AdminKey(AdminKey),
}

#[derive(ClapArgs)]
pub(crate) struct Serve {
    /// Port of clients: WebSocket and HTTP. 0 takes a free one.
    #[arg(long, env = "CONCAVE_PORT", default_value_t = 3210)]
    pub(crate) port: u16,
    /// Port of HTTP actions. 0 takes a free one.
    #[arg(long, env = "CONCAVE_SITE_PORT", default_value_t = 3211)]
    pub(crate) site_port: u16,
    /// Address to listen on; 0.0.0.0 for all.
    #[arg(long, env = "CONCAVE_INTERFACE", default_value = "127.0.0.1")]
    pub(crate) interface: IpAddr,
    /// Most connections at once on each of the two ports, sockets included; more are told 503. The
    /// system must allow as many open files (`ulimit -n`).
    #[arg(long, env = "CONCAVE_MAX_CONNECTIONS", default_value_t = 16_384)]
    pub(crate) max_connections: usize,
    #[command(flatten)]
    pub(crate) data: Data,
    /// Application that is compiled in.
    #[arg(long, env = "CONCAVE_APP", value_enum, default_value_t = App::Presence)]
    pub(crate) app: App,
    /// Accept tokens of the development issuer. Not for production: whoever reads the data folder, or
    /// reaches the port, can sign in as anybody.
    #[arg(long, env = "CONCAVE_DEV_AUTH", value_parser = FalseyValueParser::new())]
    pub(crate) dev_auth: bool,
    /// Auth providers, as JSON: {"providers": [...]} in the form of Convex's auth.config, or a path to it.
    #[arg(long, env = "CONCAVE_AUTH_CONFIG")]
    pub(crate) auth_config: Option<String>,
    /// What an acknowledged commit survives.
    #[arg(long, env = "CONCAVE_DURABILITY", value_enum, default_value_t = Durability::Full)]
    pub(crate) durability: Durability,
    /// Memory for cached data, in MiB.
    #[arg(long, env = "CONCAVE_CACHE_MB", default_value_t = 256)]
    pub(crate) cache_mb: usize,
    /// How long superseded versions are kept, in seconds.
    #[arg(long, env = "CONCAVE_RETENTION_SECONDS", default_value_t = 3600)]
    pub(crate) retention_seconds: u64,
    /// Threads that run functions; 0 takes one per processor, at least two.
    #[arg(long, env = "CONCAVE_WORKERS", default_value_t = 0, value_parser = value_parser!(u16).range(..=1024))]
    pub(crate) workers: u16,
    /// Hide texts of errors and log lines from clients, as a production deployment does.
    #[arg(long, env = "CONCAVE_REDACT_ERRORS", value_parser = FalseyValueParser::new())]
    pub(crate) redact_errors: bool,
    /// What to log, for example `info` or `server=debug`.
    #[arg(long, env = "CONCAVE_LOG", default_value = "info")]
    pub(crate) log: String,
}

#[derive(ClapArgs)]
pub(crate) struct Data {
    /// Folder of the data.
    #[arg(long = "data", env = "CONCAVE_DATA", default_value = "./concave-data")]
    pub(crate) folder: PathBuf,
    /// Name of the deployment.
    #[arg(long, env = "CONCAVE_INSTANCE_NAME", default_value = "concave", value_parser = instance_name)]
    pub(crate) instance_name: String,
}

#[derive(ClapArgs)]
pub(crate) struct Token {
    /// Whose token: the `subject` that functions see.
    #[arg(long)]
    pub(crate) user: String,
    /// How long it is good, in seconds.
    #[arg(long, default_value_t = 3600)]
    pub(crate) ttl: u64,
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(ClapArgs)]
pub(crate) struct AdminKey {
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum App {
    /// The presence of a chat.
    Presence,
    /// None.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// A crash of the program and a loss of power.
    Full,
    /// A crash of the program; a loss of power may take the newest commits.
    Relaxed,
}

/// A name that can stand before the `|` of an admin key.
fn instance_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['|', ':']) {
        return Err("an instance name is not empty and has no `|` or `:`".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn instance_names_fit_into_admin_keys() {
        assert_eq!(instance_name("a-b"), Ok("a-b".to_owned()));
        for text in ["", "a|b", "prod:a"] {
            assert!(instance_name(text).is_err(), "{text}");
        }
    }
}
