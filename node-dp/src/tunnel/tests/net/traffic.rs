//! What a node sends to the other, and how long the answer may take.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use super::{super::wire::echo, Node};

/// How long one attempt to get an answer may take.
pub(in crate::tunnel::tests) const ATTEMPT: Duration = Duration::from_millis(200);

/// How long what must work may take.
pub(in crate::tunnel::tests) const DEADLINE: Duration = Duration::from_secs(10);

impl Node {
    pub(in crate::tunnel::tests) fn ping(&self, address: IpAddr) {
        let from = self.pod_like(address);
        self.inside(move || {
            eventually(DEADLINE, || echo(from, address).ok());
        });
    }

    /// Sends a datagram and answers what comes back from an echo server at the other.
    pub(in crate::tunnel::tests) fn ask_udp(
        &self,
        other: &Self,
        address: IpAddr,
    ) -> Option<Vec<u8>> {
        let server = other.inside(move || UdpSocket::bind((address, 0)).unwrap());
        let target = server.local_addr().unwrap();
        server.set_read_timeout(Some(ATTEMPT)).unwrap();
        let from = self.pod_like(address);
        let client = self.inside(move || UdpSocket::bind((from, 0)).unwrap());
        client.set_read_timeout(Some(ATTEMPT)).unwrap();

        client.send_to(b"datagram", target).ok()?;
        let mut buffer = [0; 64];
        let (length, source) = server.recv_from(&mut buffer).ok()?;
        server.send_to(&buffer[..length], source).ok()?;
        let (length, _) = client.recv_from(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    pub(in crate::tunnel::tests) fn send_udp(&self, address: IpAddr) -> io::Result<usize> {
        let from = self.pod_like(address);
        let client = self.inside(move || UdpSocket::bind((from, 0)).unwrap());
        client.send_to(b"clear", SocketAddr::new(address, 9))
    }

    /// Sends that many bytes and answers how many the other had when it saw the end.
    pub(in crate::tunnel::tests) fn ask_tcp(
        &self,
        other: &Self,
        address: IpAddr,
        bytes: usize,
    ) -> Option<usize> {
        let listener = other.inside(move || TcpListener::bind((address, 0)).unwrap());
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&(all.len() as u64).to_be_bytes()).unwrap();
        });
        let mut client = self
            .inside(move || TcpStream::connect_timeout(&target, DEADLINE))
            .ok()?;
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(&vec![7; bytes]).ok()?;
        client.shutdown(Shutdown::Write).ok()?;
        let mut answer = [0; 8];
        client.read_exact(&mut answer).ok()?;
        server.join().unwrap();
        usize::try_from(u64::from_be_bytes(answer)).ok()
    }

    fn pod_like(&self, address: IpAddr) -> IpAddr {
        self.pods[usize::from(address.is_ipv6())]
    }
}

/// Tries until it works; answers how long that took.
pub(in crate::tunnel::tests) fn eventually<R>(
    limit: Duration,
    mut attempt: impl FnMut() -> Option<R>,
) -> Duration {
    let start = Instant::now();
    while attempt().is_none() {
        assert!(start.elapsed() < limit, "not within {limit:?}");
        thread::yield_now();
    }
    start.elapsed()
}
