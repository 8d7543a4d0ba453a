//! Keeps the tunnel device's MTU at what the paths to the peers carry.
//!
//! The kernel knows each path's MTU: its device's, its route's, or the smaller one that a router on the way has told.
//! It tells nobody when that changes, so it is asked again and again.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use nix::sys::socket::{getsockopt, sockopt};
use node_dp_core::tunnel::mtu::device_mtu;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{
    clamp::Clamp,
    link::{self, LinkError},
};

/// How often paths are asked for; until then, what is too large for a narrowed path travels in fragments.
const PERIOD: Duration = Duration::from_secs(2);

/// The task that follows the paths; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct MtuFollower {
    endpoints: watch::Sender<Vec<SocketAddr>>,
    task: JoinHandle<()>,
}

impl MtuFollower {
    /// Follows for the device of this index; `mtu` is what it has now, and is kept true.
    pub(super) fn start(
        netlink: rtnetlink::Handle,
        (device, index): (String, u32),
        (most, mtu): (u16, Arc<AtomicU16>),
        clamp: Option<Clamp>,
    ) -> Self {
        let (endpoints, wanted) = watch::channel(Vec::new());
        let device = FollowedDevice {
            name: device,
            index,
            most,
            mtu,
            clamp,
        };
        let task = tokio::spawn(follow(netlink, device, wanted));
        Self { endpoints, task }
    }

    /// Tells where the peers are; the MTU follows at once.
    pub(super) fn set_endpoints(&self, endpoints: Vec<SocketAddr>) {
        self.endpoints.send_replace(endpoints);
    }
}

impl Drop for MtuFollower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The device whose MTU follows.
struct FollowedDevice {
    name: String,
    index: u32,
    /// The largest MTU that it may have.
    most: u16,
    /// The one that it has.
    mtu: Arc<AtomicU16>,
    clamp: Option<Clamp>,
}

impl FollowedDevice {
    async fn set_mtu(&mut self, netlink: &rtnetlink::Handle, mtu: u16) -> Result<(), LinkError> {
        link::set_mtu(netlink, &self.name, self.index, mtu).await?;
        self.mtu.store(mtu, Ordering::Relaxed);
        if let Some(Err(error)) = self.clamp.as_mut().map(|clamp| clamp.set_mtu(mtu)) {
            tracing::warn!(device = self.name, %error, "the clamp does not follow the tunnel's MTU");
        }
        Ok(())
    }
}

async fn follow(
    netlink: rtnetlink::Handle,
    mut device: FollowedDevice,
    mut endpoints: watch::Receiver<Vec<SocketAddr>>,
) {
    loop {
        tokio::select! {
            changed = endpoints.changed() => if changed.is_err() {
                return;
            },
            () = sleep(PERIOD) => {}
        }
        let paths: Vec<_> = endpoints
            .borrow_and_update()
            .iter()
            // A path that there is none of says nothing.
            .filter_map(|endpoint| Some((endpoint.ip(), path_mtu(*endpoint).ok()?)))
            .collect();
        let before = device.mtu.load(Ordering::Relaxed);
        if paths.is_empty() {
            continue;
        }
        let now = device_mtu(paths, device.most);
        if now == before {
            continue;
        }
        match device.set_mtu(&netlink, now).await {
            Ok(()) => tracing::info!(
                device.name,
                before,
                now,
                "the tunnel's MTU follows its paths"
            ),
            Err(error) => {
                tracing::warn!(device.name, %error, "the tunnel's MTU does not follow its paths");
            }
        }
    }
}

/// The MTU of the path to an address as the kernel knows it, in bytes.
fn path_mtu(endpoint: SocketAddr) -> io::Result<u32> {
    let any: SocketAddr = match endpoint {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // Nothing is sent: it looks the route up.
    socket.connect(endpoint)?;
    let mtu = match endpoint {
        SocketAddr::V4(_) => getsockopt(&socket, sockopt::IpMtu)?,
        SocketAddr::V6(_) => ipv6_mtu(&socket)?,
    };
    u32::try_from(mtu).map_err(io::Error::other)
}

fn ipv6_mtu(socket: &UdpSocket) -> io::Result<libc::c_int> {
    let mut mtu: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointers are to an integer and to its length, and the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU,
            (&raw mut mtu).cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(mtu)
}
