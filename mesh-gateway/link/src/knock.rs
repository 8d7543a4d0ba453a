//! Knocks at an address at which nobody answers, so that a path that heals is noticed soon.
//!
//! A handshake repeats its packets ever more rarely. A knock costs neither side a connection: a packet of a version that
//! nobody has, which every QUIC server answers with the versions that it does have (RFC 9000, 6.1 and 15).

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::attempt::unspecified_for;

/// A version that is reserved so that it is never one.
const VERSION: u32 = 0x1a2a_3a4a;

/// Servers leave shorter packets of unknown versions unanswered (RFC 9000, 5.2.2).
const KNOCK_BYTES: usize = 1200;

/// The first byte of a packet with a long header, and in an answer the bit that says so.
const LONG_HEADER: u8 = 0xc0;
const IS_LONG: u8 = 0x80;

/// The bytes of the id that an answer has to repeat: a random number, and when the knock was sent.
const ID_BYTES: u8 = 16;

/// The part of an absence after which its end is noticed at the latest.
const PARTS_OF_ABSENCE: u32 = 200;

/// The shortest time between two knocks: 24 kB/s.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// The longest time between two knocks: they must not stop.
const MAX_INTERVAL: Duration = Duration::from_secs(1);

/// How long a handshake may take beyond its round trips before it counts as stuck.
const SLACK: Duration = Duration::from_millis(50);

/// Waits until a knock is answered by an address though a handshake, which begins now, is not: its packets have gone
/// astray, and the next one may be far. Cancel safe.
pub(crate) async fn until_handshake_is_stuck(
    address: SocketAddr,
    absence: Duration,
) -> io::Result<()> {
    let socket = UdpSocket::bind(unspecified_for(address)).await?;
    let started = Instant::now();
    let secret = RandomState::new().hash_one(address);
    let every = (absence / PARTS_OF_ABSENCE).clamp(MIN_INTERVAL, MAX_INTERVAL);
    // The answer to an earlier one would say nothing of the handshake.
    let mut ticks = interval_at(started + SLACK, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answer = [0; KNOCK_BYTES];
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                // A way that is not there at the moment refuses it: the next one may pass.
                let knock = knock(secret, started.elapsed());
                drop(socket.send_to(&knock, address).await);
            }
            Ok((length, _)) = socket.recv_from(&mut answer) => {
                let answer = answer.get(..length).unwrap_or_default();
                let Some(sent) = answered(answer, secret) else {
                    continue;
                };
                let since = started.elapsed();
                let round_trip = since.saturating_sub(sent);
                if since > round_trip * 3 + SLACK {
                    return Ok(());
                }
            }
        }
    }
}

/// A knock that was sent so long after the first.
fn knock(secret: u64, sent: Duration) -> [u8; KNOCK_BYTES] {
    let mut packet = [0; KNOCK_BYTES];
    let id = id(secret, sent);
    let fields = [LONG_HEADER]
        .into_iter()
        .chain(VERSION.to_be_bytes())
        // The same id stands for both ends: a server's is of no use here.
        .chain([ID_BYTES])
        .chain(id.clone())
        .chain([ID_BYTES])
        .chain(id);
    for (byte, field) in packet.iter_mut().zip(fields) {
        *byte = field;
    }
    packet
}

/// When the knock was sent that a packet answers; `None` of any other packet.
fn answered(packet: &[u8], secret: u64) -> Option<Duration> {
    let (first, rest) = packet.split_first()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first()?;
    let (mine, rest) = rest.split_first_chunk::<8>()?;
    let (sent, _) = rest.split_first_chunk::<8>()?;
    let is_answer = first & IS_LONG != 0 && *version == [0; 4] && *length == ID_BYTES;
    let sent = Duration::from_micros(u64::from_be_bytes(*sent));
    (is_answer && u64::from_be_bytes(*mine) == secret).then_some(sent)
}

fn id(secret: u64, sent: Duration) -> impl Iterator<Item = u8> + Clone {
    let sent = u64::try_from(sent.as_micros()).unwrap_or(u64::MAX);
    secret.to_be_bytes().into_iter().chain(sent.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt, time::SystemTime};

    use certs::{
        Credentials,
        authority::{Authority, Validity},
        credentials::{ANCHORS_FILE, CERTIFICATE_FILE, KEY_FILE},
        identity::{SpiffeId, TrustDomain},
    };
    use cluster_registry::name::ClusterName;
    use quinn::Endpoint;
    use tokio::time::timeout;

    use super::*;
    use crate::transport;

    /// The path heals while a handshake waits to repeat its packet, which it does 300 ms, 900 ms and 2.1 s after its start.
    #[tokio::test]
    async fn a_path_that_heals_amid_a_handshake_is_noticed_by_the_next_knock() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let stuck = tokio::spawn(until_handshake_is_stuck(address, Duration::ZERO));
        let mut knock = [0; KNOCK_BYTES];
        for _ in 0..3 {
            assert_eq!(server.recv(&mut knock).await.unwrap(), KNOCK_BYTES);
            assert!(!stuck.is_finished());
        }

        let (_, from) = server.recv_from(&mut knock).await.unwrap();
        server.send_to(&answer_to(&knock), from).await.unwrap();

        timeout(PATIENCE, stuck).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_quic_server_answers_a_knock() {
        let validity = Validity::starting(SystemTime::now(), Duration::from_secs(60));
        let domain = TrustDomain::parse("cluster.local").unwrap();
        let authority = Authority::create(domain.clone(), validity).unwrap();
        let id = SpiffeId::gateway(domain, ClusterName::parse("west").unwrap());
        let issued = authority.issue(&id, validity).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            (ANCHORS_FILE, authority.certificate_pem()),
            (CERTIFICATE_FILE, &issued.certificate),
            (KEY_FILE, &issued.key),
        ] {
            let path = dir.path().join(file);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        let config = transport::server(&Credentials::load(dir.path()).unwrap()).unwrap();
        let server = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.local_addr().unwrap();

        let stuck = until_handshake_is_stuck(address, Duration::ZERO);

        timeout(PATIENCE, stuck).await.unwrap().unwrap();
    }

    #[test]
    fn only_the_answer_to_a_knock_is_one() {
        let (secret, sent) = (7, Duration::from_millis(3));
        let knock = knock(secret, sent);
        let answer = answer_to(&knock);

        assert_eq!(answered(&answer, secret), Some(sent));
        assert_eq!(answered(&answer, secret + 1), None);
        assert_eq!(answered(&knock, secret), None);
        for length in 0..22 {
            assert_eq!(answered(&answer[..length], secret), None);
        }
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server says no version where the knock has one, swaps the ids, which are the same, and names its versions.
    fn answer_to(knock: &[u8]) -> Vec<u8> {
        let mut answer = knock[..39].to_vec();
        answer[1..5].fill(0);
        answer.extend([0, 0, 0, 1]);
        answer
    }
}
