//! The plainest HTTP server: it says who it is.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Context;

/// How long a client may take to ask.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers until the process is ended.
pub(crate) fn serve(listen: SocketAddr, text: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    let response = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}\n",
        text.len() + 1
    );
    loop {
        let (stream, _) = listener.accept().context("accepting")?;
        let response = response.clone();
        thread::spawn(move || answer(stream, &response));
    }
}

/// A client that goes away in between is the client's affair.
fn answer(mut stream: TcpStream, response: &str) {
    let mut request = [0; 4096];
    let asked = stream
        .set_read_timeout(Some(READ_TIMEOUT))
        .and_then(|()| stream.read(&mut request));
    if asked.is_ok_and(|length| length > 0) {
        stream.write_all(response.as_bytes()).ok();
    }
}
