//! The WireGuard tunnels to the nodes of other clusters: the kernel's where it has them, else embedded ones over TUN.
//!
//! Both speak the same protocol with the same keys and peers, so a node with one reaches a node with the other. What a
//! newcomer would get wrong: the embedded device dies with the agent and the kernel's doesn't, and in both cases the
//! routes stay, so that a packet for a remote pod is refused rather than sent in clear when the device is away.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    path::Path,
    sync::{Arc, atomic::AtomicU16},
    time::Duration,
};

use cluster_registry::node::PublicKey;
use ipnet::IpNet;
use node_dp_core::{
    probe_address::probe_address,
    tunnel::{WantedPeer, inside::InsidePlan, succession},
};

mod clamp;
mod error;
mod kernel;
mod key;
mod link;
mod mode;
mod mtu;
mod peers;
mod routes;
mod rules;
mod seen;
#[cfg(test)]
mod tests;
mod userspace;
mod watch;

use clamp::Clamp;
use mtu::MtuFollower;
use routes::{Routes, Wanted};
use watch::LinkWatch;

pub use error::{ConfigureError, GuardError, OpenError, SetKeyError, UninstallError};
pub use kernel::KernelError;
pub use key::{KeyError, PrivateKey};
pub use link::LinkError;
pub use mode::{Implementation, Mode, ParseModeError};
pub use node_dp_core::tunnel::mtu::MAX_MTU;
pub use routes::{RouteChanges, RouteError};
pub use seen::{PeerStats, TunnelDrops};
pub use userspace::{OpenTunError, UserspaceError};

/// The MTU inside the tunnel until a peer's path is known: what fits 1500 bytes of IPv6, UDP and WireGuard.
const FIRST_MTU: u16 = 1420;

/// The longest name of a device (`IFNAMSIZ` less the terminating zero).
const MAX_DEVICE_BYTES: usize = 15;

/// Seconds between keepalives to a silent peer.
///
/// Sent from the moment a peer is added, they make a restarted agent shake hands at once with peers that still encrypt
/// to its former session, and keep the state of firewalls in between: 25 s is what the WireGuard manual advises.
const KEEPALIVE_SECONDS: u16 = 25;

/// What a tunnel device is opened with.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    /// Which implementation.
    pub mode: Mode,
    /// The device's name.
    pub device: String,
    /// The UDP port that it listens on, on all addresses of both families.
    pub port: u16,
    /// The largest MTU inside the tunnel; it is less where the path to a peer asks for that.
    pub mtu: u16,
    /// The node's key.
    pub private_key: PrivateKey,
    /// Ranges that lead into the tunnel or nowhere, whoever has them.
    pub only: BTreeSet<IpNet>,
}

/// The open tunnel device of this node.
pub struct Tunnel {
    device: String,
    port: u16,
    public_key: PublicKey,
    /// The key before, whose probe address is still answered at.
    former_key: Option<PublicKey>,
    wanted: BTreeMap<PublicKey, WantedPeer>,
    /// The next keys of peers that have shaken hands.
    heard: BTreeSet<PublicKey>,
    reason: String,
    netlink: rtnetlink::Handle,
    index: u32,
    mtu: MtuFollower,
    watch: LinkWatch,
    only: BTreeSet<IpNet>,
    routes: Routes,
    inner: Inner,
}

enum Inner {
    Kernel(kernel::Kernel),
    Userspace(userspace::Userspace),
}

impl Tunnel {
    /// Opens the device, with the probe address on it and up; a kernel device of a former run is adopted with its peers.
    ///
    /// The sockets and the device belong to the network namespace of the calling thread.
    pub async fn open(config: TunnelConfig) -> Result<Self, OpenError> {
        check_device(&config.device)?;
        let netlink = link::connect().map_err(OpenError::Netlink)?;
        let public_key = config.private_key.public_key();
        let (use_kernel, reason) = mode::choose(config.mode).await?;
        let first_mtu = config.mtu.min(FIRST_MTU);
        let mtu = Arc::new(AtomicU16::new(first_mtu));
        let inner = if use_kernel {
            Inner::Kernel(kernel::Kernel::open(&netlink, &config).await?)
        } else {
            link::delete_if_wireguard(&netlink, &config.device).await?;
            Inner::Userspace(userspace::Userspace::open(&config, Arc::clone(&mtu))?)
        };
        let address = probe_address(&public_key);
        let index = link::set_up(&netlink, &config.device, first_mtu, address).await?;
        let device = (config.device.clone(), index);
        let watch = LinkWatch::start(index).map_err(OpenError::Netlink)?;
        let clamp = clamp(&config.device, first_mtu);
        let mtu = MtuFollower::start(netlink.clone(), device, (config.mtu, mtu), clamp);
        Ok(Self {
            device: config.device,
            port: config.port,
            public_key,
            former_key: None,
            wanted: BTreeMap::new(),
            heard: BTreeSet::new(),
            reason,
            netlink,
            index,
            mtu,
            watch,
            only: config.only,
            routes: Routes::default(),
            inner,
        })
    }

    /// Which implementation was chosen.
    pub fn implementation(&self) -> Implementation {
        match &self.inner {
            Inner::Kernel(_) => Implementation::Kernel,
            Inner::Userspace(_) => Implementation::Userspace,
        }
    }

    /// Why it was chosen, for the status.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The UDP port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The key that peers encrypt to.
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// The address on the device at which probes are answered.
    pub fn probe_address(&self) -> Ipv6Addr {
        probe_address(&self.public_key)
    }

    /// Makes the device's peers exactly these; the sessions of peers that stay go on.
    pub async fn configure(
        &mut self,
        wanted: &BTreeMap<PublicKey, WantedPeer>,
    ) -> Result<(), ConfigureError> {
        let endpoints = wanted.values().map(|peer| peer.endpoint).collect();
        self.mtu.set_endpoints(endpoints);
        self.wanted.clone_from(wanted);
        let next: BTreeSet<_> = wanted.values().filter_map(|p| p.next_public_key).collect();
        self.heard.retain(|key| next.contains(key));
        self.configure_entries().await
    }

    async fn configure_entries(&mut self) -> Result<(), ConfigureError> {
        let entries = succession::entries(&self.wanted, &self.heard);
        match &mut self.inner {
            Inner::Kernel(kernel) => kernel.configure(&entries).await?,
            Inner::Userspace(userspace) => userspace.configure(&entries).await?,
        }
        Ok(())
    }

    /// Whether a peer has announced its next key and has not used it yet; then [`Self::follow_keys`] is to be called
    /// often.
    pub fn awaits_keys(&self) -> bool {
        !succession::awaited(&self.wanted, &self.heard).is_empty()
    }

    /// Gives the peers that use their next keys by now all their addresses under these.
    pub async fn follow_keys(&mut self) -> Result<(), ConfigureError> {
        let awaited = succession::awaited(&self.wanted, &self.heard);
        let stats = self.stats().await?;
        let is_heard = |key: &PublicKey| stats.get(key).is_some_and(|s| s.last_handshake.is_some());
        let heard: Vec<_> = awaited.into_iter().filter(is_heard).collect();
        if heard.is_empty() {
            return Ok(());
        }
        tracing::debug!(?heard, "peers use their next keys");
        self.heard.extend(heard);
        self.configure_entries().await
    }

    /// Uses another key from now on. What peers send in sessions with the former is still taken, until these end, and
    /// probes of the former's address are answered; what this side sends waits for new handshakes.
    pub async fn set_key(&mut self, key: &PrivateKey) -> Result<(), SetKeyError> {
        let public_key = key.public_key();
        let (device, index) = (&self.device, self.index);
        link::add_address(&self.netlink, device, index, probe_address(&public_key)).await?;
        match &mut self.inner {
            Inner::Kernel(kernel) => kernel.set_key(key).await.map_err(ConfigureError::from)?,
            Inner::Userspace(userspace) => {
                userspace.set_key(key).await.map_err(ConfigureError::from)?;
            }
        }
        let former = self.former_key.replace(self.public_key);
        self.public_key = public_key;
        if let Some(former) = former {
            let address = probe_address(&former);
            link::remove_address(&self.netlink, device, index, address).await?;
        }
        Ok(())
    }

    /// Makes the routes of ours exactly these, each through the device with an `unreachable` one behind it; and those that
    /// are wanted within the own cluster.
    ///
    /// All are tried; the error is the first. What others did to our routes is mended by the first call after a minute.
    pub async fn set_routes(
        &mut self,
        between: &BTreeSet<IpNet>,
        inside: &InsidePlan,
    ) -> Result<RouteChanges, RouteError> {
        let wanted = Wanted {
            device: Some(self.index),
            between,
            only: &self.only,
            inside,
        };
        self.routes.sync(&self.netlink, &wanted).await
    }

    /// What it has seen of each peer.
    pub async fn stats(&self) -> Result<BTreeMap<PublicKey, PeerStats>, ConfigureError> {
        Ok(match &self.inner {
            Inner::Kernel(kernel) => kernel.stats().await?,
            Inner::Userspace(userspace) => userspace.stats().await?,
        })
    }

    /// What it did not carry.
    pub async fn drops(&self) -> Result<TunnelDrops, ConfigureError> {
        Ok(match &self.inner {
            Inner::Kernel(_) => link::drops(&self.netlink, &self.device)
                .await
                .map_err(KernelError::from)?,
            Inner::Userspace(userspace) => userspace.drops().await?,
        })
    }

    /// Ends once the device is gone under it or down, say by hand; then it must be opened anew. It is cancel safe.
    pub async fn lost(&self) {
        match &self.inner {
            Inner::Kernel(_) => self.watch.lost().await,
            Inner::Userspace(userspace) => tokio::select! {
                () = self.watch.lost() => {}
                () = userspace.lost() => {}
            },
        }
    }

    /// Closes the embedded device, which removes it; the kernel's stays and carries on.
    pub async fn close(self) {
        match self.inner {
            Inner::Kernel(_) => {}
            Inner::Userspace(userspace) => userspace.close().await,
        }
    }
}

/// Refuses what is for these ranges where no tunnel leads there yet; routes that former runs left stay.
pub async fn guard(between: &BTreeSet<IpNet>, inside: &InsidePlan) -> Result<(), GuardError> {
    let netlink = link::connect().map_err(GuardError::Netlink)?;
    let wanted = Wanted {
        device: None,
        between,
        only: &BTreeSet::new(),
        inside,
    };
    Ok(routes::guard(&netlink, &wanted).await?)
}

/// Removes what former runs left: the routes of ours, and the device if it is a WireGuard or TUN one.
pub async fn uninstall(device: &str) -> Result<(), UninstallError> {
    let netlink = link::connect().map_err(UninstallError::Netlink)?;
    let none = Wanted {
        device: None,
        between: &BTreeSet::new(),
        only: &BTreeSet::new(),
        inside: &InsidePlan::default(),
    };
    Routes::default().sync(&netlink, &none).await?;
    link::delete_if_tunnel(&netlink, device).await?;
    Ok(())
}

/// Loads the node's private key from the state directory, or makes one and keeps it there.
pub fn load_or_create_key(state_dir: &Path) -> Result<PrivateKey, KeyError> {
    key::load_or_create(state_dir)
}

/// Keeps a key in the state directory, in the place of the former one.
pub fn replace_key(state_dir: &Path, key: &PrivateKey) -> Result<(), KeyError> {
    key::replace(state_dir, key)
}

/// How long ago the key in the state directory was made.
pub fn key_age(state_dir: &Path) -> Duration {
    key::age(state_dir)
}

/// The device's clamp; connections find out without one what fits, if nobody drops ICMP.
fn clamp(device: &str, mtu: u16) -> Option<Clamp> {
    match Clamp::attach(device, mtu) {
        Ok(clamp) => Some(clamp),
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(
                device,
                error = format!("{error:#}"),
                "TCP's segments are not clamped"
            );
            None
        }
    }
}

fn check_device(name: &str) -> Result<(), OpenError> {
    let is_good = !name.is_empty()
        && name.len() <= MAX_DEVICE_BYTES
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if is_good {
        Ok(())
    } else {
        Err(OpenError::BadDevice(name.to_owned()))
    }
}
