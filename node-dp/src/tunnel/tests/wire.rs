//! What is on the wire of the tests: a capture that tells WireGuard from the rest, and ICMP echoes.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::net::{ATTEMPT, Node};

/// What was on the wire.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) wireguard_bytes: usize,
    pub(super) others: usize,
}

/// A capture of a node's underlay device.
pub(super) struct Capture {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Seen>,
}

impl Capture {
    pub(super) fn start(node: &Node) -> Self {
        let socket = node.inside(packet_socket);
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            let mut frame = [0; 65_536];
            loop {
                match (&socket).read(&mut frame) {
                    Ok(length) => seen.count(&frame[..length]),
                    Err(_) if is_over.load(Ordering::Relaxed) => return seen,
                    Err(_) => thread::yield_now(),
                }
            }
        });
        Self { stop, thread }
    }

    pub(super) fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

impl Seen {
    /// Counts a frame of Ethernet; ARP and IPv6's own neighbour and router messages are not traffic.
    fn count(&mut self, frame: &[u8]) {
        let is_neighbour = match frame.get(12..14) {
            Some([0x08, 0x06]) => true,
            Some([0x86, 0xdd]) => {
                let is_icmp = frame.get(20) == Some(&58) || frame.get(20) == Some(&0);
                let is_local = frame.get(22..24) == Some(&[0xfe, 0x80])
                    || frame.get(38).is_some_and(|first| *first == 0xff);
                // Neighbours are asked for at their own addresses too (RFC 4861): types 133 to 137.
                let is_message = frame.get(20) == Some(&58)
                    && frame.get(54).is_some_and(|kind| (133..=137).contains(kind));
                (is_icmp && is_local) || is_message
            }
            _ => false,
        };
        let port = match (frame.get(12..14), frame.get(23), frame.get(20)) {
            (Some([0x08, 0x00]), Some(17), _) => frame.get(36..38),
            (Some([0x86, 0xdd]), _, Some(17)) => frame.get(56..58),
            _ => None,
        };
        let is_wireguard = port == Some(&51872_u16.to_be_bytes());
        if is_wireguard {
            self.wireguard_bytes += frame.len();
        } else if !is_neighbour {
            self.others += 1;
        }
    }
}

/// A packet socket of all devices of the namespace but the loopback and the tunnel: it is bound to `under0`.
fn packet_socket() -> File {
    let protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
    // SAFETY: no pointers are passed.
    let fd = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            protocol,
        )
    };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let index = nix::net::if_::if_nametoindex("under0").unwrap();
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a `sockaddr_ll` of the length given.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    assert!(bound == 0, "{}", io::Error::last_os_error());
    let socket = Socket::from(socket);
    socket.set_read_timeout(Some(ATTEMPT)).unwrap();
    File::from(OwnedFd::from(socket))
}

/// Sends an ICMP echo request and waits for the reply.
pub(super) fn echo(from: IpAddr, to: IpAddr) -> io::Result<()> {
    let (domain, protocol, request, reply) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_read_timeout(Some(ATTEMPT))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    // The checksum of IPv4's is the complement of the one word that is not zero; the kernel fills in IPv6's.
    let message = [request, 0, !request, 255, 0, 0, 0, 0];
    socket.send_to(&message, &SocketAddr::new(to, 0).into())?;
    let mut buffer = [0; 128];
    loop {
        let length = (&socket).read(&mut buffer)?;
        // Raw sockets of IPv4 show the IP header of 20 bytes too.
        let start = if to.is_ipv4() { 20 } else { 0 };
        if buffer[..length].get(start) == Some(&reply) {
            return Ok(());
        }
    }
}
