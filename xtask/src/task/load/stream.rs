//! One TCP stream and one byte to and fro: what a path between two machines carries, how fast, and at whose cost.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// What the server does with a connection: it counts what comes, or sends it back.
const SINK: u8 = b's';
const ECHO: u8 = b'e';

/// Bytes written at once.
const CHUNK: usize = 128 << 10;

/// Kernel ticks in a second, as `/proc` counts CPU time (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Where to connect, and the processes that carry the path: `ADDRESS` or `ADDRESS=PID,PID`.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    target: SocketAddr,
    carriers: Vec<u32>,
}

impl FromStr for Path {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (target, carriers) = text.split_once('=').unwrap_or((text, ""));
        let carriers = carriers.split(',').filter(|pid| !pid.is_empty());
        Ok(Self {
            target: target.parse().context("reading the address")?,
            carriers: carriers
                .map(|pid| pid.parse().context("reading a process's number"))
                .collect::<anyhow::Result<_>>()?,
        })
    }
}

/// What one path did in one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StreamRound {
    /// Gigabits a second, of payload.
    pub(crate) gbit_per_s: f64,
    /// The carriers' CPU time for each gigabyte of payload, in seconds.
    pub(crate) cpu_s_per_gb: f64,
    /// The median time of one byte to and fro, in microseconds.
    pub(crate) echo_p50_us: f64,
}

/// Alternates the paths and prints all rounds, path by path, as one JSON line.
pub(crate) fn run(paths: &[Path], rounds: usize, round_ms: u64) -> anyhow::Result<()> {
    let length = Duration::from_millis(round_ms);
    let mut results = vec![Vec::with_capacity(rounds); paths.len()];
    for path in paths {
        round(path, length / 2).with_context(|| format!("warming {} up", path.target))?;
    }
    for _ in 0..rounds {
        for (path, results) in paths.iter().zip(&mut results) {
            let result = round(path, length);
            results.push(result.with_context(|| format!("calling {}", path.target))?);
        }
    }
    let mut line = serde_json::to_string(&results)?;
    line.push('\n');
    std::io::stdout().lock().write_all(line.as_bytes())?;
    Ok(())
}

/// Answers until the process is ended, one connection after the other.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    loop {
        let (stream, _) = listener.accept().context("accepting")?;
        // A client that goes away in between is the client's affair.
        answer(stream).ok();
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wish = [0];
    stream.read_exact(&mut wish)?;
    let mut buffer = vec![0; CHUNK];
    let mut total = 0_u64;
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return stream.write_all(&total.to_be_bytes());
        }
        total += len as u64;
        if wish == [ECHO] {
            stream.write_all(buffer.get(..len).unwrap_or_default())?;
        }
    }
}

fn round(path: &Path, length: Duration) -> anyhow::Result<StreamRound> {
    let echo_p50_us = echo(path.target, length / 4)?;
    let before = cpu_s(&path.carriers)?;
    let start = Instant::now();
    let bytes = stream(path.target, length)? as f64;
    let took = start.elapsed().as_secs_f64();
    let cpu = cpu_s(&path.carriers)? - before;
    Ok(StreamRound {
        gbit_per_s: bytes * 8.0 / took / 1e9,
        cpu_s_per_gb: cpu / (bytes / 1e9),
        echo_p50_us,
    })
}

/// Sends for that long; answers how many bytes the server got.
fn stream(target: SocketAddr, length: Duration) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(target)?;
    stream.write_all(&[SINK])?;
    let chunk = vec![7; CHUNK];
    let start = Instant::now();
    while start.elapsed() < length {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total)?;
    Ok(u64::from_be_bytes(total))
}

/// The median time of one byte to and fro.
fn echo(target: SocketAddr, length: Duration) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[ECHO])?;
    let mut times_us = Vec::new();
    let start = Instant::now();
    while start.elapsed() < length {
        let sent = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        times_us.push(sent.elapsed().as_nanos() as f64 / 1000.0);
    }
    times_us.sort_by(f64::total_cmp);
    let middle = times_us.get(times_us.len() / 2);
    middle.copied().context("no byte came back")
}

/// The CPU time that processes have used so far, in seconds.
fn cpu_s(processes: &[u32]) -> anyhow::Result<f64> {
    processes.iter().map(|process| cpu_of(*process)).sum()
}

/// The CPU time that a process has used so far, in seconds.
pub(crate) fn cpu_of(process: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name, in brackets, may hold anything; user and system time are the 12th and 13th field behind it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    let [user, system] = ticks[..] else {
        bail!("{path} has no CPU times");
    };
    Ok((user + system) / TICKS)
}
