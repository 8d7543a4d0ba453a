//! The load that demo and benches run in pods or processes of their own: this same program with a hidden subcommand.
//!
//! It speaks to the address it is given and ends by itself, after its count or its time.

mod attempts;
mod crr;
mod registry;
mod stream;
mod sync;
mod text;
mod usage;

use std::net::SocketAddr;

pub(crate) use attempts::Attempt;
pub(crate) use crr::{Round, Rounds};
pub(crate) use stream::{StreamRound, cpu_of};

/// What to run.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Load {
    /// Opens a connection at a fixed pace, each on its own thread, and prints one JSON line for each.
    Attempts {
        /// Where to connect.
        #[arg(long)]
        target: SocketAddr,
        /// Time between two attempts, in milliseconds.
        #[arg(long, default_value_t = 10)]
        interval_ms: u64,
        /// How long one attempt may take, in milliseconds.
        #[arg(long, default_value_t = 1000)]
        timeout_ms: u64,
        /// When to end, in milliseconds from the start.
        #[arg(long)]
        for_ms: u64,
    },
    /// Connects, exchanges one byte and closes, as fast as one thread can, round by round over the targets.
    Crr {
        /// The targets, alternated in this order.
        #[arg(long, required = true)]
        target: Vec<SocketAddr>,
        /// How many rounds each target gets.
        #[arg(long, default_value_t = 25)]
        rounds: usize,
        /// How long a round lasts, in milliseconds.
        #[arg(long, default_value_t = 400)]
        round_ms: u64,
    },
    /// Answers `crr`, one connection at a time, on one thread.
    CrrServe {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Measures the registry in memory, and prints one number a line.
    Registry {
        /// What to measure.
        measure: registry::Measure,
        #[command(flatten)]
        size: registry::Size,
    },
    /// Sends one TCP stream, and single bytes to and fro, round by round over the paths.
    Stream {
        /// Where to connect, and the processes that carry it: `ADDRESS` or `ADDRESS=PID,PID`; alternated in this order.
        #[arg(long, required = true)]
        path: Vec<stream::Path>,
        /// How many rounds each path gets.
        #[arg(long, default_value_t = 25)]
        rounds: usize,
        /// How long a round's stream lasts, in milliseconds.
        #[arg(long, default_value_t = 1000)]
        round_ms: u64,
    },
    /// Answers `stream`, one connection at a time, on one thread.
    StreamServe {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Measures the sync of peers over loopback, and prints a name and a number a line.
    Sync {
        /// What to measure.
        #[arg(value_enum)]
        measure: sync::Measure,
        #[command(flatten)]
        size: sync::Size,
    },
    /// Answers each HTTP request with a fixed text, on one thread for each connection.
    Text {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
        /// What to answer.
        #[arg(long)]
        text: String,
    },
}

impl Load {
    /// Runs it to its end.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Attempts {
                target,
                interval_ms,
                timeout_ms,
                for_ms,
            } => attempts::run(target, interval_ms, timeout_ms, for_ms),
            Self::Crr {
                target,
                rounds,
                round_ms,
            } => crr::run(&target, rounds, round_ms),
            Self::CrrServe { listen } => crr::serve(listen),
            Self::Registry { measure, size } => registry::run(measure, size),
            Self::Stream {
                path,
                rounds,
                round_ms,
            } => stream::run(&path, rounds, round_ms),
            Self::StreamServe { listen } => stream::serve(listen),
            Self::Sync { measure, size } => sync::run(measure, size),
            Self::Text { listen, text } => text::serve(listen, &text),
        }
    }
}
