//! Servers come and go with the ports, and say what is so when they are asked.

use cluster_registry::name::ServiceName;
use node_dp_core::health::Check;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_node_with_endpoints_is_healthy_and_one_without_is_not() {
    let port = free_port().await;
    let world = World::start();
    world.tell(port, 2);

    let (status, text) = world.ask_until(port, 200).await;
    assert_eq!(status, 200);
    assert!(text.contains(r#""localEndpoints":2"#), "{text}");
    assert!(
        text.contains("x-load-balancing-endpoint-weight: 2"),
        "{text}"
    );
    assert!(
        text.contains(r#"{"name":"web","namespace":"shop"}"#),
        "{text}"
    );

    world.tell(port, 0);
    assert_eq!(world.ask_until(port, 503).await.0, 503);
}

#[tokio::test]
async fn a_node_that_is_not_ready_is_not_healthy() {
    let port = free_port().await;
    let world = World::start();
    let guard = world.readiness.guard("gateway");
    world.tell(port, 2);

    let (_, text) = world.ask_until(port, 503).await;
    assert!(text.contains(r#""serviceProxyHealthy":false"#), "{text}");

    drop(guard);
    assert_eq!(world.ask_until(port, 200).await.0, 200);
}

#[tokio::test]
async fn a_port_is_given_up_with_its_service_and_had_as_soon_as_it_is_free() {
    let port = free_port().await;
    let other = listen(port.get()).await.unwrap();
    let world = World::start();
    world.tell(port, 1);

    drop(other);
    assert_eq!(world.ask_until(port, 200).await.0, 200);

    world.checks.send_replace(Arc::default());
    let free = async {
        while TcpStream::connect(("127.0.0.1", port.get())).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, free).await.expect("the port is given up");
}

#[tokio::test]
async fn the_nodes_own_health_is_its_readiness() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let port = NonZeroU16::new(port).unwrap();
    let world = World::start();
    let guard = world.readiness.guard("gateway");
    let served = serve_node_health(listener, world.readiness.clone(), world.shutdown.clone());
    tokio::spawn(served);

    for path in ["/healthz", "/livez"] {
        let (status, text) = ask(port, path).await.unwrap();
        assert_eq!(status, 503);
        assert!(text.contains(r#"{"waitingFor":["gateway"]}"#), "{text}");
    }
    drop(guard);
    assert_eq!(ask(port, "/healthz").await.unwrap().0, 200);
}

/// A running task.
struct World {
    checks: watch::Sender<Arc<Checks>>,
    readiness: Readiness,
    shutdown: CancellationToken,
}

impl World {
    fn start() -> Self {
        let (checks, receiver) = watch::channel(Arc::default());
        let (readiness, shutdown) = (Readiness::new(), CancellationToken::new());
        let task = HealthTask {
            checks: receiver,
            readiness: readiness.clone(),
            tasks: TaskTracker::new(),
            shutdown: shutdown.clone(),
        };
        tokio::spawn(task.run());
        Self {
            checks,
            readiness,
            shutdown,
        }
    }

    fn tell(&self, port: NonZeroU16, local_endpoints: usize) {
        let service = ServiceName::parse("shop", "web").unwrap();
        let check = Check {
            service,
            local_endpoints,
        };
        self.checks.send_replace(Arc::new([(port, check)].into()));
    }

    /// Asks until the status is as expected, as the server may not be there yet.
    async fn ask_until(&self, port: NonZeroU16, expected: u16) -> (u16, String) {
        let asked = async {
            loop {
                match ask(port, "/").await {
                    Some(answer) if answer.0 == expected => return answer,
                    Some(_) | None => tokio::task::yield_now().await,
                }
            }
        };
        timeout(PATIENCE, asked)
            .await
            .expect("an answer comes in time")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A port that nobody has.
async fn free_port() -> NonZeroU16 {
    let listener = listen(0).await.unwrap();
    NonZeroU16::new(listener.local_addr().unwrap().port()).unwrap()
}

/// The status of an answer and all its text; nothing if nobody answers.
async fn ask(port: NonZeroU16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port.get())).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}
