//! The gateway of a cluster: tells peers what the cluster shares, takes what they share, serves the nodes and DNS.

#![forbid(unsafe_code)]

mod admission;
mod args;
mod config;
mod dns;
mod dump;
mod gateway;
mod hub;
mod links;
mod metrics;
mod publishing;
mod state;

use std::io::Write;

use anyhow::Context;
use clap::Parser;
use isthmus_daemon::{shutdown, telemetry};

use crate::{args::Args, config::Config};

/// Worker threads: the hub is one task, so that more threads only serve bursts of handshakes and questions.
const MAX_WORKERS: usize = 4;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let print_config = args.print_config;
    let config = Config::try_from(args)?;
    if print_config {
        return print(&config);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(MAX_WORKERS))
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(start(config))
}

async fn start(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init(&config.telemetry()).context("starting telemetry")?;
    let shutdown = shutdown::on_signal().context("watching for signals")?;
    let outcome = gateway::run(config, shutdown).await;
    telemetry.flush().await;
    outcome
}

fn print(config: &Config) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&config.describe()).context("writing the settings")?;
    writeln!(std::io::stdout(), "{text}").context("writing to standard output")
}
