//! `isthmus`, the operator's command: what the gateways and agents say, credentials, and labs on this machine.

#![forbid(unsafe_code)]

mod args;
mod certs;
mod exit;
mod lab;
mod output;
mod services;
mod sources;
mod status;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Args, Command},
    output::Output,
};

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.output);
    let result = match args.command {
        Command::Status(from) => status::run(&from, &output),
        Command::Services(services) => services::run(&services, &output),
        Command::Certs(command) => certs::run(command, &output),
        Command::Lab(command) => lab::run(command, &output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure.error);
            ExitCode::from(failure.code)
        }
    }
}
