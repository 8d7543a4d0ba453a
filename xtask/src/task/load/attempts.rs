//! New connections at a fixed pace, whether or not the earlier ones have ended, so that a silent loss is seen at once.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// How one attempt went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// When it began, in milliseconds since the Unix epoch.
    pub(crate) started_unix_ms: u64,
    /// How long it took, in microseconds.
    pub(crate) took_us: u64,
    /// The body that was answered; `None` when the attempt failed.
    pub(crate) body: Option<String>,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// Starts an attempt every interval, prints each as a JSON line when it ends, and returns when all have ended.
pub(crate) fn run(
    target: SocketAddr,
    interval_ms: u64,
    timeout_ms: u64,
    for_ms: u64,
) -> anyhow::Result<()> {
    let interval = Duration::from_millis(interval_ms.max(1));
    let timeout = Duration::from_millis(timeout_ms);
    let start = Instant::now();
    let end = start + Duration::from_millis(for_ms);
    let mut next = start;
    let mut running = Vec::new();
    while Instant::now() < end {
        running.push(thread::spawn(move || print(&attempt(target, timeout))));
        running.retain(|attempt| !attempt.is_finished());
        next += interval;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    for attempt in running {
        attempt
            .join()
            .map_err(|_panic| anyhow::anyhow!("an attempt's thread panicked"))?
            .context("printing an attempt")?;
    }
    Ok(())
}

fn print(attempt: &Attempt) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(attempt)?;
    line.push('\n');
    std::io::stdout().lock().write_all(line.as_bytes())?;
    Ok(())
}

fn attempt(target: SocketAddr, timeout: Duration) -> Attempt {
    let started_unix_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    let start = Instant::now();
    let answer = get(target, timeout);
    let took_us = start.elapsed().as_micros() as u64;
    let (body, error) = match answer {
        Ok(body) => (Some(body), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Attempt {
        started_unix_ms,
        took_us,
        body,
        error,
    }
}

/// One HTTP/1.0 request over a connection of its own.
fn get(target: SocketAddr, timeout: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut response = String::new();
    stream.take(64 * 1024).read_to_string(&mut response)?;
    match response.split_once("\r\n\r\n") {
        Some((_, body)) => Ok(body.trim().to_owned()),
        None => Err(std::io::Error::other("the answer has no body")),
    }
}
