//! Connect, request, close: what a service's translation costs shows in its rate, its connect time and its CPU.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::task::load::usage::cpu_time;

/// What one target did in one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Connections a second.
    pub(crate) rate: f64,
    /// The median time of `connect`, in microseconds.
    pub(crate) connect_p50_us: f64,
    /// The client's CPU time for each connection, in microseconds.
    pub(crate) cpu_us: f64,
}

/// The rounds of each target, in the order of the targets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rounds(pub(crate) Vec<Vec<Round>>);

/// Alternates the targets and prints all rounds as one JSON line.
pub(crate) fn run(targets: &[SocketAddr], rounds: usize, round_ms: u64) -> anyhow::Result<()> {
    let length = Duration::from_millis(round_ms);
    let mut results = vec![Vec::with_capacity(rounds); targets.len()];
    for target in targets {
        round(*target, length / 4).with_context(|| format!("warming {target} up"))?;
    }
    for _ in 0..rounds {
        for (target, results) in targets.iter().zip(&mut results) {
            results.push(round(*target, length).with_context(|| format!("calling {target}"))?);
        }
    }
    let mut line = serde_json::to_string(&Rounds(results))?;
    line.push('\n');
    std::io::stdout().lock().write_all(line.as_bytes())?;
    Ok(())
}

/// Answers until the process is ended.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    loop {
        let (mut stream, _) = listener.accept().context("accepting")?;
        let mut byte = [0];
        // A client that goes away in between is the client's affair.
        if stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).ok();
        }
    }
}

fn round(target: SocketAddr, length: Duration) -> anyhow::Result<Round> {
    let mut connects_us = Vec::with_capacity(16 * 1024);
    let cpu_before = cpu_time()?;
    let start = Instant::now();
    while start.elapsed() < length {
        let began = Instant::now();
        let mut stream = TcpStream::connect(target)?;
        connects_us.push(began.elapsed().as_nanos() as f64 / 1000.0);
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
    }
    let took = start.elapsed().as_secs_f64();
    let count = connects_us.len() as f64;
    let cpu = cpu_time()? - cpu_before;
    connects_us.sort_by(f64::total_cmp);
    Ok(Round {
        rate: count / took,
        connect_p50_us: connects_us
            .get(connects_us.len() / 2)
            .copied()
            .unwrap_or_default(),
        cpu_us: cpu.as_secs_f64() * 1e6 / count,
    })
}
