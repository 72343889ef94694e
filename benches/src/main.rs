//! The workloads of docs/benchmarks.md, one command each.
//!
//!     benches fanout      one commit into a room with many sockets of one shared query
//!     benches untouched   commit cost as live queries that it does not touch grow
//!     benches mutations   durable mutations per second: connections, hot and cold documents
//!     benches start       empty start to the first answer, resident memory idle
//!
//! Server and driver are processes of their own on one machine; figures are medians of several rounds.

mod app;
mod client;
mod fanout;
mod host;
mod mutations;
mod start;
mod stats;
mod untouched;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "benches", about = "The workloads of docs/benchmarks.md")]
struct Args {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Subcommand)]
enum Workload {
    /// Serve the functions of the benchmarks (started by the others).
    #[command(hide = true)]
    Serve {
        /// Folder of the data.
        #[arg(long)]
        data: std::path::PathBuf,
    },
    /// One commit into a room with many sockets of one shared query.
    Fanout {
        /// Sockets that show the room.
        #[arg(long, default_value_t = 1000)]
        sockets: usize,
        /// Commits, one after the other.
        #[arg(long, default_value_t = 50)]
        commits: usize,
    },
    /// Commit cost as live queries that it does not touch grow.
    Untouched {
        /// Numbers of live queries to compare.
        #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
        live: Vec<usize>,
        /// Commits in a round.
        #[arg(long, default_value_t = 2000)]
        commits: usize,
    },
    /// Durable mutations per second.
    Mutations {
        /// Connections, each with a few mutations under way.
        #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
        connections: Vec<usize>,
        /// Mutations under way for each connection.
        #[arg(long, default_value_t = 8)]
        pipeline: usize,
        /// Seconds of a round.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// Empty start to the first answer, and resident memory idle.
    Start {
        /// The program to start: a release build of `concave`.
        #[arg(long, default_value = "target/release/concave")]
        program: std::path::PathBuf,
        /// How often.
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.workload {
        Workload::Serve { data } => host::serve(&runtime, &data),
        Workload::Fanout { sockets, commits } => runtime.block_on(fanout::run(sockets, commits)),
        Workload::Untouched { live, commits } => untouched::run(&live, commits),
        Workload::Mutations { connections, pipeline, seconds } => {
            runtime.block_on(mutations::run(&connections, pipeline, seconds))
        }
        Workload::Start { program, rounds } => start::run(&program, rounds),
    }
}
