//! Asks a daemon's admin endpoint, from inside its node's network.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// An admin endpoint is on the same machine: later than this it won't answer at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// A status answer of a large cluster is a few megabytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// What an HTTP server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Fetches `http://<address><path>`.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    ask("GET", address, path)
}

/// Posts nothing to `http://<address><path>`.
pub fn post(address: SocketAddr, path: &str) -> Result<Answer> {
    ask("POST", address, path)
}

/// By HTTP/1.0, so the answer ends with the connection and has no chunks.
fn ask(method: &str, address: SocketAddr, path: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // In one piece: a server may answer, and close, as soon as it has seen a part.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .with_context(|| format!("asking {address} for {path}"))?;
    let mut text = String::new();
    stream
        .take(MAX_ANSWER_BYTES)
        .read_to_string(&mut text)
        .with_context(|| format!("reading the answer of {address} for {path}"))?;
    parse(&text).with_context(|| format!("understanding the answer of {address} for {path}"))
}

fn parse(text: &str) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("it has no body")?;
    let status = head.split(' ').nth(1).context("it has no status")?;
    ensure!(head.starts_with("HTTP/"), "it is no HTTP");
    Ok(Answer {
        status: status.parse().context("its status is no number")?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nnot yet").unwrap();

        assert_eq!((answer.status, answer.body.as_str()), (503, "not yet"));
    }

    #[test]
    fn an_answer_that_is_no_http_is_an_error() {
        assert!(parse("SSH-2.0 200\r\n\r\n").is_err());
    }
}
