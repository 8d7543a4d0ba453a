//! Who reaches the gateway's port and does not behave: it costs others nothing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use certs::{
    authority::Authority,
    tls::{Expectation, client_config},
};
use mesh_link::event::GoodbyeReason;
use quinn::{Connection, Endpoint, crypto::rustls::QuicClientConfig};
use tokio::{net::UdpSocket, sync::mpsc, task::JoinSet, time::timeout};

use super::support::{Ends, PATIENCE, Pair, authority, cluster, gateway, service, settings};

/// More than there are places for handshakes.
const STALLED: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_one_host_leaves_half_open_keep_nobody_else_out() {
    let authority = authority();
    let mut pair = Pair::start_with(Ends::of(&authority)).await;
    pair.until_up().await;
    let attacker = intruder(&authority, "127.0.0.2:0");
    let (begun_tx, mut begun) = mpsc::unbounded_channel();
    let mut attack = JoinSet::new();
    for _ in 0..STALLED {
        attack.spawn(stall(attacker.clone(), pair.listens_at, begun_tx.clone()));
    }
    // About as many as one host gets.
    for _ in 0..80 {
        timeout(PATIENCE, begun.recv()).await.unwrap().unwrap();
    }

    for session in 2..5 {
        let handle = pair.at_west.handle.clone().unwrap();
        handle.close(GoodbyeReason::Replaced);
        pair.at_east
            .until("a session beside the attack", |r| r.ups.len() == session)
            .await;
        pair.at_west
            .until("its other end", |r| r.ups.len() == session)
            .await;
    }

    assert!(pair.at_east.unreachable.is_empty());
    attack.shutdown().await;
}

#[tokio::test]
async fn malformed_first_packets_end_no_session_and_keep_nobody_out() {
    let authority = authority();
    let mut pair = Pair::start_with(Ends::of(&authority)).await;
    pair.until_up().await;
    let initial = first_packet(&authority).await;
    let socket = UdpSocket::bind("127.0.0.3:0").await.unwrap();
    socket.connect(pair.listens_at).await.unwrap();
    for (sent, packet) in malformed(&initial).enumerate() {
        drop(socket.send(&packet).await);
        if sent % 64 == 0 {
            // The listener has its turn.
            tokio::task::yield_now().await;
        }
    }

    pair.west.put(service("west", "after")).await;
    pair.at_east
        .until("a change after the flood", |r| r.known.len() == 1)
        .await;
    assert!(pair.at_east.downs.is_empty() && pair.at_west.downs.is_empty());
    pair.at_west
        .handle
        .clone()
        .unwrap()
        .close(GoodbyeReason::Replaced);
    pair.at_east
        .until("a session after the flood", |r| r.ups.len() == 2)
        .await;
}

#[tokio::test]
async fn a_peer_that_says_its_hello_byte_by_byte_is_given_up() {
    let authority = authority();
    let pair = Pair::start_with(Ends::of(&authority)).await;
    let intruder = intruder(&authority, "127.0.0.2:0");
    let connection = connect(&intruder, pair.listens_at).await.unwrap();
    let (mut control, _answers) = connection.open_bi().await.unwrap();
    let trickling = tokio::spawn(async move {
        // The length of a frame that never comes whole.
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        let mut written = control.write_all(&[0, 0, 1, 0]).await;
        while written.is_ok() {
            pace.tick().await;
            written = control.write_all(&[0]).await;
        }
    });

    let closed = timeout(PATIENCE, connection.closed()).await;

    assert!(closed.is_ok(), "the connection is still open");
    timeout(PATIENCE, trickling).await.unwrap().unwrap();
}

/// A host with a certificate that west admits.
fn intruder(authority: &Authority, address: &str) -> Endpoint {
    let mut endpoint = Endpoint::client(address.parse().unwrap()).unwrap();
    let settings = settings(authority, &gateway("east"));
    let expected = Expectation {
        cluster: cluster("west"),
    };
    let tls = client_config(&settings.credentials, expected).unwrap();
    let tls = QuicClientConfig::try_from(tls).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    endpoint
}

async fn connect(from: &Endpoint, to: SocketAddr) -> Result<Connection, quinn::ConnectionError> {
    from.connect(to, "gateway").unwrap().await
}

/// Connects with a valid certificate, opens no session, and does so again once it is given up.
async fn stall(from: Endpoint, to: SocketAddr, begun: mpsc::UnboundedSender<()>) {
    loop {
        let Ok(connection) = connect(&from, to).await else {
            continue;
        };
        if begun.send(()).is_err() {
            return;
        }
        connection.closed().await;
    }
}

/// The first packet of a handshake, which nobody answers.
async fn first_packet(authority: &Authority) -> Vec<u8> {
    let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let dialler = intruder(authority, "127.0.0.2:0");
    let dialling = tokio::spawn(async move { connect(&dialler, target).await });
    let mut buffer = vec![0; 2048];
    let length = timeout(PATIENCE, listener.recv(&mut buffer)).await;
    buffer.truncate(length.unwrap().unwrap());
    dialling.abort();
    assert!(
        buffer.len() >= 1200 && buffer[0] & 0xc0 == 0xc0,
        "an Initial packet"
    );
    buffer
}

/// A first packet cut, changed, repeated and lied about in every way that its header (RFC 9000, section 17.2) offers.
fn malformed(initial: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let changed = |at: usize, byte: u8| {
        let mut packet = initial.to_vec();
        packet[at] = byte;
        packet
    };
    let cut = (0..initial.len())
        .step_by(13)
        .map(|n| initial[..n].to_vec());
    let every_header_byte = (0..64)
        .flat_map(move |at| [0x00, 0x01, 0x3f, 0x7f, 0x80, 0xff].map(|byte| changed(at, byte)));
    let bodies = (64..initial.len())
        .step_by(7)
        .map(move |at| changed(at, initial[at] ^ 0x55));
    let versions = [0u32, 2, 0x6b33_43cf, 0xbaba_baba, u32::MAX]
        .into_iter()
        .map(move |version| {
            let mut packet = initial.to_vec();
            packet[1..5].copy_from_slice(&version.to_be_bytes());
            packet
        });
    let long = std::iter::once([initial, &[0; 20_000]].concat());
    // Each is a handshake that is never finished, of an address that is never proved.
    let again = (0..2_000_u32).map(move |number| {
        let mut packet = initial.to_vec();
        packet[6..10].copy_from_slice(&number.to_be_bytes());
        packet
    });
    cut.chain(every_header_byte)
        .chain(bodies)
        .chain(versions)
        .chain(long)
        .chain(again)
}
