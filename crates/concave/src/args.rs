//! The command line: which command, and what it needs.
//!
//! Flags of settings come from the table in `settings`; here are only those that are no settings. A
//! command line of the official backend is understood too (`official`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command as Clap, value_parser};

use crate::config::{Config, Deployment};
use crate::official;
use crate::settings::docs::help;
use crate::settings::{FILE, Group, Kind, Layers, SETTINGS, Setting, variable};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve until a signal.
    Serve(Box<Config>),
    /// Print a token of the development issuer for this user.
    Token { deployment: Deployment, user: String, ttl: Duration },
    /// Print an admin key.
    AdminKey { deployment: Deployment, is_read_only: bool },
    /// Write all data into one file, also of a server that runs.
    Backup { deployment: Deployment, file: PathBuf },
    /// Fetch such a file from a server that runs elsewhere.
    FetchBackup { url: String, key: String, file: PathBuf },
    /// Make a data folder from such a file.
    Restore { deployment: Deployment, file: PathBuf },
    /// Print this text.
    Print(String),
}

/// The command of this process. Ends the process with a message where clap finds the line wrong.
///
/// Errors: settings that are wrong, with their source.
pub(crate) fn read() -> Result<Command> {
    let line: Vec<_> = std::env::args_os().collect();
    if official::is_meant(&line) {
        return official::read(&line);
    }
    let matches = commands().get_matches_from(line);
    let (name, given) = matches.subcommand().expect("clap requires a command");
    match name {
        "serve" => Ok(Command::Serve(Box::new(Config::new(&layers(given)?.resolve()?)?))),
        "token" => Ok(Command::Token {
            deployment: deployment(given)?,
            user: one(given, "user"),
            ttl: Duration::from_secs(one(given, "ttl")),
        }),
        "admin-key" => Ok(Command::AdminKey {
            deployment: deployment(given)?,
            is_read_only: given.get_flag("read-only"),
        }),
        "backup" if given.get_one::<String>("url").is_some() => Ok(Command::FetchBackup {
            url: one(given, "url"),
            key: one(given, "admin-key"),
            file: one(given, "file"),
        }),
        "backup" => {
            Ok(Command::Backup { deployment: deployment(given)?, file: one(given, "file") })
        }
        "restore" => {
            Ok(Command::Restore { deployment: deployment(given)?, file: one(given, "file") })
        }
        _ => Ok(Command::Print(if given.get_flag("docs") {
            crate::settings::docs::table()
        } else {
            crate::settings::docs::example()
        })),
    }
}

fn one<T: Clone + Send + Sync + 'static>(given: &ArgMatches, name: &str) -> T {
    given.get_one::<T>(name).expect("clap requires it").clone()
}

fn deployment(given: &ArgMatches) -> Result<Deployment> {
    Deployment::new(&layers(given)?.resolve_shared()?)
}

/// The settings on the command line, with the layers below.
fn layers(given: &ArgMatches) -> Result<Layers> {
    let flag = |setting: &'static Setting| {
        let text = given.try_get_one::<String>(setting.name).ok().flatten()?;
        Some((setting.name, text.clone()))
    };
    let flags = SETTINGS.iter().filter_map(flag).collect();
    Layers::gather(flags, given.get_one::<PathBuf>(FILE).cloned())
}

fn commands() -> Clap {
    Clap::new("concave")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Convex-compatible backend: one program, one file of data.")
        .after_help(
            "Started with the flags of the official backend (--instance-name, --instance-secret, \
             …, and a database file), it serves in its place.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve())
        .subcommand(token())
        .subcommand(admin_key())
        .subcommand(backup())
        .subcommand(restore())
        .subcommand(config())
}

fn serve() -> Clap {
    let command = Clap::new("serve").about("Serve an application until SIGTERM or SIGINT").after_help(
        "A setting is taken from its flag, else from its variable, else from the file, else it has \
         its default.",
    );
    with_settings(command, |_| true)
}

fn token() -> Clap {
    let command = Clap::new("token")
        .about("Print a token of the development issuer, for a server that runs with --dev-auth")
        .arg(
            Arg::new("user")
                .long("user")
                .value_name("NAME")
                .required(true)
                .help("Whose token: the `subject` that functions see"),
        )
        .arg(
            Arg::new("ttl")
                .long("ttl")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64))
                .default_value("3600")
                .help("How long it is good"),
        );
    with_settings(command, |setting| setting.is_shared)
}

fn admin_key() -> Clap {
    let command = Clap::new("admin-key")
        .about("Print a key with which the official tools administer this deployment")
        .arg(
            Arg::new("read-only")
                .long("read-only")
                .action(ArgAction::SetTrue)
                .help("A key that may look and not act"),
        );
    with_settings(command, |setting| setting.is_shared)
}

fn backup() -> Clap {
    let command = Clap::new("backup")
        .about("Write all data, as of one moment, into one file; a server may run meanwhile")
        .arg(file("File to make; must not exist. It holds the secret of the deployment"))
        .arg(
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .requires("admin-key")
                .help("Fetch it from the server at this URL, instead of from the data folder"),
        )
        .arg(
            Arg::new("admin-key")
                .long("admin-key")
                .value_name("KEY")
                .env("CONCAVE_ADMIN_KEY")
                .hide_env_values(true)
                .help("For --url: an admin key that is not read-only"),
        );
    with_settings(command, |setting| setting.is_shared)
}

fn restore() -> Clap {
    let command = Clap::new("restore")
        .about("Make a data folder from a backup; nothing is overwritten")
        .arg(file("File that `concave backup` made"));
    with_settings(command, |setting| setting.is_shared)
}

fn config() -> Clap {
    Clap::new("config").about("Print a file of settings: all of them, as comments").arg(
        Arg::new("docs")
            .long("docs")
            .action(ArgAction::SetTrue)
            .help("Print them as a table of Markdown instead"),
    )
}

fn file(help: &'static str) -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_parser(ValueParser::path_buf())
        .help(help)
}

/// Flags of all settings that `is_needed`, and the one that names the file.
fn with_settings(command: Clap, is_needed: fn(&Setting) -> bool) -> Clap {
    let file =
        Arg::new(FILE).long(FILE).value_name("FILE").value_parser(ValueParser::path_buf()).help(
            format!(
                "File of settings (TOML); `concave config` prints one. [env: {}]",
                variable(FILE)
            ),
        );
    let mut command = command.arg(file);
    for group in Group::ALL {
        for setting in
            SETTINGS.iter().filter(|setting| setting.group == group && is_needed(setting))
        {
            command = command.arg(flag(setting));
        }
    }
    command
}

fn flag(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.kind.placeholder())
        .help_heading(setting.group.title())
        .help(help(setting));
    match setting.kind {
        // `--dev-auth` alone turns it on; a value needs `=`, so that what follows is never taken for one.
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Text
        | Kind::Path
        | Kind::Address
        | Kind::Name
        | Kind::Secret
        | Kind::Origin
        | Kind::Number { .. }
        | Kind::OneOf(_) => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        commands().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_of_serve() {
        let command = serve();
        for setting in SETTINGS {
            let arg = command.get_arguments().find(|arg| arg.get_id() == setting.name).unwrap();
            let help = arg.get_help().unwrap().to_string();
            assert!(help.contains(&setting.variable()), "{help}");
        }
    }
}
