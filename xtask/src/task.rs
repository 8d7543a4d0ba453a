//! The tasks, and how each one's outcome becomes an exit code.

mod bench;
mod build;
mod check;
mod command;
mod demo;
mod fuzz;
mod load;
mod setup;
mod sim;
mod test;

use std::process::ExitCode;

use clap::Parser;

/// What a newcomer, a developer and CI run.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Installs what building and testing needs and is missing.
    Setup,
    /// Starts two clusters on this machine, cuts one off, and shows that a service goes on.
    Demo(demo::Args),
    /// Runs every test, or those whose name contains FILTER, and ends with a line of counts.
    Test(test::Args),
    /// Checks what a change must pass: format, lints, docs, licences, arrows, sizes, chart.
    Check,
    /// Simulates clustersets under seeded faults, many seeds one after the other.
    Sim(sim::Args),
    /// Measures, and prints ratios taken side by side.
    Bench(bench::Args),
    /// Searches for inputs that break the session protocol.
    Fuzz(fuzz::Args),
    /// Runs inside pods, for the demo and the benches.
    #[command(subcommand, hide = true)]
    Load(load::Load),
}

/// This machine cannot do what was asked.
const UNFIT: u8 = 2;

/// Runs the task that the command line names.
pub(crate) fn main() -> ExitCode {
    let result = match Task::parse() {
        Task::Setup => setup::run_task(),
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Check => check::run(),
        Task::Sim(args) => sim::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Load(load) => load.run(),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    command::say(&format!("error: {error:#}"));
    if error.is::<multicluster::preflight::Unfit>() {
        return ExitCode::from(UNFIT);
    }
    ExitCode::FAILURE
}
