//! How long a session takes to begin, against a bare QUIC connection with the same mutual TLS.
//!
//! A session is up when both sides have consented. With mutual TLS a client's handshake ends before the server has looked
//! at its certificate, so that of a bare connection the same is known once the server has answered something.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use certs::tls::{Expectation, client_config, server_config};
use mesh_link::event::PeerEvent;
use quinn::{
    ClientConfig, Endpoint, Incoming, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Found, Size,
    ends::{PATIENCE, Publisher, dialer},
    world::{World, east},
};

/// Rounds, each of both in turn.
const ROUNDS: u32 = 25;

/// The starts of each in a round, and of a quick look's.
const STARTS: u32 = 5;
const QUICK_STARTS: u32 = 1;

/// The loopback address with any port.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The bare connections' time by that of the sessions, so 1 when a session costs nothing more, of each round.
pub(super) async fn ratios(size: Size) -> anyhow::Result<Found> {
    let starts = size.times(STARTS, QUICK_STARTS);
    let world = World::create()?;
    let publisher = Publisher::start(&world, 0, size)?;
    let bare = Bare::start(&world, &publisher)?;
    // The first of each find nothing warm.
    bare.connect().await?;
    begin(&world, &publisher).await?;
    let mut found = Vec::new();
    for _ in 0..ROUNDS {
        let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..starts {
            ours += begin(&world, &publisher).await?;
            theirs += bare.connect().await?;
        }
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        found.push(("handshake_ratio", ratio));
        found.push(("session_start_ms", super::millis(ours) / f64::from(starts)));
    }
    Ok(found)
}

/// The time from dialling to a session that both sides have accepted.
async fn begin(world: &World, publisher: &Publisher) -> anyhow::Result<Duration> {
    let (events, mut reports) = mpsc::channel(64);
    let dialer = dialer(world, &publisher.cluster, publisher.address, events)?;
    let shutdown = CancellationToken::new();
    let started = Instant::now();
    let running = tokio::spawn(dialer.run(shutdown.clone()));
    let up = timeout(PATIENCE, async {
        loop {
            let report = reports.recv().await.context("the dialer is gone")?;
            if matches!(report.event, PeerEvent::Up { .. }) {
                return anyhow::Ok(started.elapsed());
            }
        }
    });
    let took = up.await.context("waiting for a session")??;
    shutdown.cancel();
    while reports.recv().await.is_some() {}
    running.await?;
    Ok(took)
}

/// QUIC alone.
struct Bare {
    address: SocketAddr,
    config: ClientConfig,
}

impl Bare {
    fn start(world: &World, publisher: &Publisher) -> anyhow::Result<Self> {
        let listens = world.settings(&publisher.cluster)?.credentials;
        let tls = QuicServerConfig::try_from(server_config(&listens)?)?;
        let server = Endpoint::server(ServerConfig::with_crypto(Arc::new(tls)), ANY)?;
        let address = server.local_addr()?;
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                tokio::spawn(hold(incoming));
            }
        });
        let dials = world.settings(&east()?)?.credentials;
        let expected = Expectation {
            cluster: publisher.cluster.clone(),
        };
        let tls = QuicClientConfig::try_from(client_config(&dials, expected)?)?;
        let config = ClientConfig::new(Arc::new(tls));
        Ok(Self { address, config })
    }

    /// The time from a fresh socket, as a dialer has one, to the server's first answer.
    async fn connect(&self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let endpoint = Endpoint::client(ANY)?;
        let connecting = endpoint.connect_with(self.config.clone(), self.address, "isthmus")?;
        let connection = connecting.await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(b"?").await?;
        receive.read_exact(&mut [0]).await?;
        let took = started.elapsed();
        connection.close(0_u32.into(), b"");
        endpoint.wait_idle().await;
        Ok(took)
    }
}

/// Answers once, and keeps the connection for as long as the side that dialled wants it.
async fn hold(incoming: Incoming) -> anyhow::Result<()> {
    let connection = incoming.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    receive.read_exact(&mut [0]).await?;
    send.write_all(b"!").await?;
    connection.closed().await;
    Ok(())
}
