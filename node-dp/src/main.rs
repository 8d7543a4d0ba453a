//! `isthmus-agent`: reads the flags and runs the agent.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use node_dp::{
    agent,
    config::{Args, Config},
};

/// Enough for one thread that decides and one that does the cryptography of tunnels and sessions.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails.
            drop(writeln!(std::io::stderr(), "isthmus-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let is_uninstall = args.uninstall;
    let is_print = args.print_config;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    if is_uninstall {
        return runtime.block_on(agent::uninstall(&args.bpffs, &args.tunnel_device));
    }
    let config = Config::try_from(args).context("reading the configuration")?;
    if is_print {
        writeln!(std::io::stdout(), "{config}").context("printing the configuration")?;
        return Ok(());
    }
    runtime.block_on(agent::run(config))?;
    Ok(())
}
