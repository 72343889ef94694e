//! The program: settings, the real clock, wiring. Everything else is in the crates below.

mod args;
mod backup;
mod config;
mod env;
mod instance;
mod official;
mod open_files;
mod serve;
mod settings;

use std::process::ExitCode;

use args::Command;

/// The exit code of a command line or a setting that is wrong, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match args::read() {
        Ok(command) => finish(run(command), ExitCode::FAILURE),
        Err(error) => finish(Err(error), ExitCode::from(USAGE)),
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(config) => serve::run(&config),
        Command::Token { deployment, user, ttl } => instance::print_token(&deployment, &user, ttl),
        Command::AdminKey { deployment, is_read_only } => {
            instance::print_admin_key(&deployment, is_read_only)
        }
        Command::Backup { deployment, file } => backup::backup(&deployment, &file),
        Command::FetchBackup { url, key, file } => backup::download(&url, &key, &file),
        Command::Restore { deployment, file } => backup::restore(&deployment, &file),
        Command::Print(text) => instance::print(text.trim_end()),
    }
}

fn finish(done: anyhow::Result<()>, code: ExitCode) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain, on one line: what was tried, and why it failed.
            eprintln!("error: {error:#}");
            code
        }
    }
}
