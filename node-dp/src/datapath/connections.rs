//! Ends what clients still have with backends that are gone: destroys sockets, so that their owners hear of it at once and
//! connect anew, and forgets the flows of datagrams at devices.
//!
//! The kernel is asked by sock_diag, which sees one network namespace: a thread goes through those of all processes whose
//! sockets see services. Which frontend a socket dialled stands in `REV_NAT` for TCP, and on the socket itself for UDP. Only
//! what was connected through a frontend is destroyed; who dialled a pod itself keeps on.

mod diag;
mod gone;
mod namespaces;
mod owners;

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
    thread,
};

use aya::maps::{HashMap, MapData, SkStorage};
use nix::{
    sched::{CloneFlags, setns},
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt,
            socket, sockopt::ReceiveTimeout,
        },
        time::TimeVal,
    },
};
use node_dp_common::{
    BackendKey, BackendValue, FrontendKey, PeerValue, RevNatKey, RevNatValue, ServiceValue,
};
use node_dp_core::departure::Gone;

use super::{
    Feature,
    flows::{Flows, SweepError},
};
use diag::{Connected, Said};
use gone::Search;
use namespaces::{Namespace, Namespaces};

const TCP: u8 = libc::IPPROTO_TCP as u8;

const FAMILIES: [u8; 2] = [libc::AF_INET as u8, libc::AF_INET6 as u8];

/// The kernel answers at once; who waits longer would wait for ever.
const PATIENCE: TimeVal = TimeVal::new(5, 0);

/// The kernel writes at most so many bytes at once.
const BUFFER: usize = 32 * 1024;

/// The clients' sockets and which frontends they dialled.
pub struct Connections {
    pub(super) rev_nat: HashMap<MapData, RevNatKey, RevNatValue>,
    pub(super) peers: SkStorage<MapData, PeerValue>,
    pub(super) flows: Flows,
    pub(super) services: HashMap<MapData, FrontendKey, ServiceValue>,
    pub(super) backends: HashMap<MapData, BackendKey, BackendValue>,
    pub(super) cgroup: PathBuf,
}

impl Connections {
    /// Destroys the sockets that are connected to what is gone through the frontends that lost it; returns how many.
    ///
    /// A network namespace in which it fails does not keep it from the others; it is an error when it fails in all.
    pub fn destroy(&self, gone: &Gone) -> io::Result<usize> {
        let mut search = Search::new(gone, &self.services, &self.backends);
        let namespaces = Namespaces::of(&self.cgroup)?;
        // A thread of its own, as it does not return to the namespace that it comes from.
        thread::scope(|scope| {
            let visitor = scope.spawn(|| self.destroy_in_all(&namespaces, &mut search));
            visitor
                .join()
                .map_err(|_panic| io::Error::other("the thread that destroys sockets panicked"))?
        })
    }

    /// Forgets the flows of datagrams that went to what is gone, and those of connections to clusters that are out, so that
    /// the next packet goes elsewhere; returns how many.
    pub fn forget_flows(&mut self, gone: &Gone) -> Result<usize, SweepError> {
        let mut search = Search::new(gone, &self.services, &self.backends);
        self.flows.remove_all(|key, value| search.flow(key, value))
    }

    /// Goes through the namespaces; the thread stays in the last.
    fn destroy_in_all(
        &self,
        namespaces: &Namespaces,
        search: &mut Search<'_>,
    ) -> io::Result<usize> {
        let mut counts = Vec::new();
        let mut failures = Vec::new();
        for namespace in namespaces.iter() {
            match self.destroy_in(namespace, search) {
                Ok(count) => counts.push(count),
                Err(error) => failures.push(error),
            }
        }
        let failed = failures.len();
        match failures.pop() {
            Some(error) if counts.is_empty() => return Err(error),
            Some(error) => {
                tracing::warn!(%error, failed, "sockets in some network namespaces are left alone");
            }
            None => {}
        }
        Ok(counts.iter().sum())
    }

    /// Enters a namespace and destroys its sockets.
    fn destroy_in(&self, namespace: &Namespace, search: &mut Search<'_>) -> io::Result<usize> {
        setns(&namespace.file, CloneFlags::CLONE_NEWNET)?;
        let socket = diag_socket()?;
        let kinds = search
            .protocols()
            .into_iter()
            .flat_map(|p| FAMILIES.map(|f| (f, p)));
        let mut count = 0;
        for (family, protocol) in kinds {
            let mut connected = ask(&socket, &diag::list(family, protocol))?;
            connected.retain(|connected| search.may_have(connected.destination(), protocol));
            let dialled = self.dialled(namespace, protocol, &connected);
            for (connected, frontend) in connected.iter().zip(dialled) {
                let is_gone = |frontend: RevNatValue| {
                    search.has_dialled(frontend.parts(), connected.destination(), protocol)
                };
                if frontend.is_some_and(is_gone) {
                    count += usize::from(destroy(&socket, connected, protocol)?);
                }
            }
        }
        Ok(count)
    }

    /// Which frontend each of some sockets dialled to get where it is connected to, if any.
    fn dialled(
        &self,
        namespace: &Namespace,
        protocol: u8,
        connected: &[Connected],
    ) -> Vec<Option<RevNatValue>> {
        if protocol == TCP {
            let dialled = connected.iter().map(|connected| {
                let (address, port) = connected.destination();
                let key = RevNatKey::new(connected.cookie(), address, port, protocol);
                self.rev_nat.get(&key, 0).ok()
            });
            return dialled.collect();
        }
        let inodes = connected.iter().map(|connected| connected.inode).collect();
        let sockets = owners::sockets(&namespace.processes, &inodes);
        let dialled = connected.iter().map(|connected| {
            let peer = self.peers.get(sockets.get(&connected.inode)?, 0).ok()?;
            let (address, port) = connected.destination();
            peer.frontend_of(address, port)
        });
        dialled.collect()
    }

    /// What becomes of sockets whose backend is gone, for the status.
    pub(super) fn feature(&self) -> Feature {
        let (chosen, reason) = match self.means() {
            Ok(true) => (
                "destroyed",
                "the kernel has INET_DIAG_DESTROY, and the agent can enter the pods' network namespaces",
            ),
            Ok(false) => (
                "destroyed in the node's own network namespace",
                "the agent does not see the pods' processes: it is not in the node's PID namespace",
            ),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                ("left alone", "the kernel lacks INET_DIAG_DESTROY")
            }
            Err(_) => (
                "left alone",
                "the agent may not enter network namespaces or destroy sockets (CAP_SYS_ADMIN, CAP_NET_ADMIN)",
            ),
        };
        Feature {
            name: "stale-sockets",
            chosen,
            reason,
        }
    }

    /// Tries what destroying needs, with no socket; whether all processes are seen.
    fn means(&self) -> io::Result<bool> {
        let namespaces = Namespaces::of(&self.cgroup)?;
        let own = std::fs::File::open("/proc/self/ns/net")?;
        let entered = thread::spawn(move || setns(own.as_fd(), CloneFlags::CLONE_NEWNET));
        entered
            .join()
            .map_err(|_panic| io::Error::other("the thread that enters a namespace panicked"))??;
        let socket = diag_socket()?;
        match ask(&socket, &diag::destroy_nothing()) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            Ok(_) | Err(_) => Ok(!namespaces.are_hidden),
        }
    }
}

fn diag_socket() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    setsockopt(&socket, ReceiveTimeout, &PATIENCE)?;
    Ok(socket)
}

/// Sends a request and reads the answers up to the last.
fn ask(socket: &OwnedFd, request: &[u8]) -> io::Result<Vec<Connected>> {
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    let mut connected = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for said in diag::read(&buffer[..length]) {
            match said {
                Said::Socket(socket) => connected.push(socket),
                Said::Done | Said::Answer(0) => return Ok(connected),
                Said::Answer(number) => return Err(io::Error::from_raw_os_error(number)),
            }
        }
    }
}

/// Destroys a socket; false if it is gone already.
fn destroy(socket: &OwnedFd, connected: &Connected, protocol: u8) -> io::Result<bool> {
    match ask(socket, &diag::destroy(connected, protocol)) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
