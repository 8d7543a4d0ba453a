//! The admin server, asked over a real connection.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use prometheus_client::metrics::{counter::Counter, family::Family};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use super::*;

#[tokio::test]
async fn readyz_flips_with_the_guards_and_at_the_drain() {
    let readiness = Readiness::new();
    let guard = readiness.guard("source");
    let server = Server::start(Registry::default(), readiness.clone()).await;

    assert_eq!(server.get("/livez").await, (200, "ok\n".to_owned()));
    let waiting = (503, "not ready: source\n".to_owned());
    assert_eq!(server.get("/readyz").await, waiting);
    drop(guard);
    assert_eq!(server.get("/readyz").await, (200, "ok\n".to_owned()));
    readiness.drain();
    let draining = (503, "not ready: draining\n".to_owned());
    assert_eq!(server.get("/readyz").await, draining);
}

#[tokio::test]
async fn metrics_are_open_metrics_with_the_counted_values() {
    let mut registry = Registry::with_prefix("isthmus");
    let updates = Family::<Vec<(String, String)>, Counter>::default();
    registry.register("updates", "Updates taken", updates.clone());
    let label = vec![("peer".to_owned(), "west".to_owned())];
    updates.get_or_create(&label).inc_by(3);
    let server = Server::start(registry, Readiness::new()).await;

    let (status, body) = server.get("/metrics").await;

    assert_eq!(status, 200);
    let samples = parse_samples(&body);
    let expected = (r#"isthmus_updates_total{peer="west"}"#.to_owned(), 3.0);
    assert_eq!(samples, [expected]);
}

#[tokio::test]
async fn status_is_what_the_daemon_says_when_asked() {
    let server = Server::start(Registry::default(), Readiness::new()).await;

    let (status, body) = server.get("/v1/status").await;

    assert_eq!(status, 200);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({"cluster": "east"}));
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let server = Server::start(Registry::default(), Readiness::new()).await;

    assert_eq!(server.get("/v2/status").await.0, 404);
}

#[tokio::test]
async fn the_server_ends_at_the_shutdown() {
    let server = Server::start(Registry::default(), Readiness::new()).await;

    server.shutdown.cancel();

    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_order_is_taken_by_post_alone_and_its_giver_hears_whether_it_is() {
    let server = Server::start(Registry::default(), Readiness::new()).await;

    assert_eq!(server.ask("POST", "/v1/once").await.0, 202);
    assert_eq!(server.ask("POST", "/v1/once").await.0, 503);
    assert_eq!(server.ask("GET", "/v1/once").await.0, 405);
}

#[tokio::test]
async fn a_dump_is_json_lines_of_any_length() {
    let server = Server::start(Registry::default(), Readiness::new()).await;

    let (status, body) = server.get("/debug/numbers").await;

    assert_eq!(status, 200);
    let data = body.split("\r\n").skip(1).step_by(2);
    let lines = data.collect::<String>();
    let numbers = lines.lines().map(|line| line.parse::<u64>().unwrap());
    assert!(numbers.eq(0..NUMBERS), "{} bytes", lines.len());
}

#[tokio::test]
async fn a_dump_ends_when_its_reader_goes() {
    let (ended_tx, mut ended) = tokio::sync::mpsc::channel(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Registry::default());
    let state = AdminState::new(metrics, Readiness::new(), async || json!({}));
    let state = state.with_dump("/debug/endless", move |add| {
        let went = loop {
            if let Err(gone) = add(&json!("again")) {
                break gone;
            }
        };
        ended_tx.try_send(went).unwrap();
        Err(went)
    });
    tokio::spawn(serve(listener, state, CancellationToken::new()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /debug/endless HTTP/1.1\r\nHost: test\r\n\r\n";
    stream.write_all(request).await.unwrap();
    stream.read_exact(&mut [0; 100_000]).await.unwrap();
    let (another, _) = ask(address, "GET", "/debug/endless").await;

    drop(stream);

    assert_eq!((another, ended.recv().await), (429, Some(Gone)));
}

/// What a dump of the test server counts to: many chunks.
const NUMBERS: u64 = 100_000;

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    async fn start(metrics: Registry, readiness: Readiness) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let state = AdminState::new(
            Arc::new(metrics),
            readiness,
            async || json!({"cluster": "east"}),
        );
        let is_taken = AtomicBool::new(false);
        let state = state.with_order("/v1/once", move || !is_taken.swap(true, Ordering::Relaxed));
        let state = state.with_dump("/debug/numbers", |add| {
            (0..NUMBERS).try_for_each(|number| add(&json!(number)))
        });
        let task = tokio::spawn(serve(listener, state, shutdown.clone()));
        Self {
            address,
            shutdown,
            task,
        }
    }

    /// The status code and the body of an answer.
    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path).await
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        ask(self.address, method, path).await
    }
}

/// The status code and the body of an answer.
async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The samples of an OpenMetrics text, which must end as the standard asks and be well-formed in every line.
fn parse_samples(text: &str) -> Vec<(String, f64)> {
    let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
    let (comments, samples): (Vec<&str>, Vec<&str>) =
        body.lines().partition(|line| line.starts_with('#'));
    for comment in comments {
        let keyword = comment.split(' ').nth(1);
        assert!(
            matches!(keyword, Some("HELP" | "TYPE" | "UNIT")),
            "{comment}"
        );
    }
    samples
        .into_iter()
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}
