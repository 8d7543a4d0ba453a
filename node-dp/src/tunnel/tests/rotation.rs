//! A node takes another key while its peers talk to it.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{net::ATTEMPT, *};

/// The longest that a request may take beside a change of keys: TCP sends again after 200 ms, twice as long each time.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs root"]
fn requests_in_both_directions_go_on_while_a_node_takes_another_key() {
    let mut pair = Pair::up("rotate");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
    let capture = Capture::start(&pair.b);
    let loads = [Load::start(&pair.a, &pair.b), Load::start(&pair.b, &pair.a)];

    for _ in 0..3 {
        let next = PrivateKey::generate().unwrap();
        announce(&pair, &next);
        loads.iter().for_each(Load::wait_for_more);

        pair.a.use_key(next);
        eventually(PATIENCE, || (!pair.b.follow_keys()).then_some(()));
        // The announcement of the key alone comes later.
        loads.iter().for_each(Load::wait_for_more);
        pair.b.configure_towards(&pair.a);
        loads.iter().for_each(Load::wait_for_more);
    }

    for load in loads {
        assert!(load.finish() > 0);
    }
    let peers: Vec<_> = pair.b.stats().into_keys().collect();
    assert_eq!(peers, [pair.a.public_key()]);
    assert_eq!(capture.finish().others, 0, "something went in clear");
}

#[test]
#[ignore = "needs root"]
fn what_is_sent_to_the_former_key_still_arrives() {
    let mut pair = Pair::up("former");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
    let server = pair.a.pods[0];
    let server = pair.a.inside(move || UdpSocket::bind((server, 0)).unwrap());
    server.set_read_timeout(Some(ATTEMPT)).unwrap();
    let target = server.local_addr().unwrap();

    // The other has not heard of the next key: all that it sends is in its session with the former.
    pair.a.use_key(PrivateKey::generate().unwrap());
    let from = pair.b.pods[0];
    pair.b.inside(move || {
        let client = UdpSocket::bind((from, 0)).unwrap();
        for number in 0..100_u8 {
            client.send_to(&[number], target).unwrap();
        }
    });

    let mut buffer = [0; 8];
    let received = (0..100).map_while(|_| server.recv(&mut buffer).ok());
    assert_eq!(received.count(), 100);
}

#[test]
#[ignore = "needs root"]
fn a_next_key_that_is_not_used_changes_nothing() {
    let pair = Pair::up("unused");
    pair.connect();
    pair.a.ping(pair.b.pods[0]);
    let next = PrivateKey::generate().unwrap();

    announce(&pair, &next);

    assert!(pair.b.follow_keys(), "it is awaited");
    assert_eq!(
        pair.b.ask_udp(&pair.a, pair.a.pods[0]),
        Some(b"datagram".to_vec())
    );
    assert_eq!(
        pair.a.ask_udp(&pair.b, pair.b.pods[0]),
        Some(b"datagram".to_vec())
    );
    assert_eq!(pair.b.stats()[&next.public_key()].last_handshake, None);
}

#[test]
#[ignore = "needs root"]
fn probes_of_the_former_address_are_answered_and_those_before_it_not() {
    let mut pair = Pair::up("addresses");
    let keys: Vec<PublicKey> = (0..3)
        .map(|_| {
            pair.a.use_key(PrivateKey::generate().unwrap());
            pair.a.public_key()
        })
        .collect();

    let shown = pair.a.ip(&["-6", "addr", "show", "dev", "isthmus0"]);
    let has = |key: &PublicKey| shown.contains(&format!("{}/128", probe_address(key)));
    assert!(!has(&keys[0]) && has(&keys[1]) && has(&keys[2]), "{shown}");
}

/// Tells the second node of the first one's next key.
fn announce(pair: &Pair, next: &PrivateKey) {
    let mut peer = pair.a.as_peer();
    peer.next_public_key = Some(next.public_key());
    let mut routes = pair.b.routes_to(&pair.a);
    routes.insert(IpNet::from(IpAddr::from(probe_address(&next.public_key()))));
    pair.b
        .configure(BTreeMap::from([(peer.public_key, peer)]), routes);
}

/// Requests one after the other, each over a connection of its own; it panics when one fails.
struct Load {
    is_over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(client: &Node, server: &Node) -> Self {
        let address = server.pods[0];
        let listener = server.inside(move || std::net::TcpListener::bind((address, 0)).unwrap());
        let target = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that fails says so itself.
                drop(stream.map(answer));
            }
        });
        let is_over = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let (ends, counts) = (Arc::clone(&is_over), Arc::clone(&done));
        let thread = client.spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                request(target);
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            is_over,
            done,
            thread,
        }
    }

    fn wait_for_more(&self) {
        let before = self.done.load(Ordering::Relaxed);
        eventually(PATIENCE, || {
            assert!(!self.thread.is_finished(), "a request failed");
            (self.done.load(Ordering::Relaxed) > before + 5).then_some(())
        });
    }

    fn finish(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.done.load(Ordering::Relaxed)
    }
}

fn request(target: SocketAddr) {
    use std::io::{Read as _, Write as _};
    let began = Instant::now();
    let mut stream = std::net::TcpStream::connect_timeout(&target, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"what").unwrap();
    let mut said = [0; 4];
    stream.read_exact(&mut said).unwrap();
    assert!(began.elapsed() < PATIENCE);
}

fn answer(mut stream: std::net::TcpStream) -> std::io::Result<()> {
    use std::io::{Read as _, Write as _};
    let mut asked = [0; 4];
    stream.read_exact(&mut asked)?;
    stream.write_all(&asked)
}
