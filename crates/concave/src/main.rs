//! The program: arguments, the real clock, wiring. Everything else is in the crates below.

mod args;
mod env;
mod instance;
mod serve;

use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser as _;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Command::Serve(options) => serve::run(&options),
        Command::Token(options) => instance::print_token(&options),
        Command::AdminKey(options) => instance::print_admin_key(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain, on one line: what was tried, and why it failed.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
