//! The kernel's WireGuard, configured over generic netlink.
//!
//! Its device outlives the agent with peers and sessions, so an agent that starts finds it and changes only what differs.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use cluster_registry::node::PublicKey;
use futures_util::StreamExt as _;
use netlink_packet_generic::{
    GenlMessage,
    ctrl::{GenlCtrl, GenlCtrlCmd, nlas::GenlCtrlAttrs},
};
use netlink_packet_wireguard::WireguardMessage;
use node_dp_core::tunnel::succession::Entry;
use rtnetlink::{
    Handle, LinkWireguard,
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage,
        NetlinkPayload, NetlinkSerializable,
    },
    packet_route::link::InfoKind,
    proto::{ConnectionHandle, NetlinkProtoError, new_connection},
    sys::{SocketAddr, protocols::NETLINK_GENERIC},
};

use super::{
    PeerStats, PrivateKey, TunnelConfig,
    link::{self, LinkError},
    peers::{PeerConfig, Peers, changes, wanted_peers},
};

mod message;

/// The name of the generic netlink family; asking for it makes the kernel load the module.
const FAMILY: &str = "wireguard";

/// Why the kernel's WireGuard is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No generic netlink socket.
    #[error("cannot open a generic netlink socket")]
    Socket(#[source] io::Error),
    /// The socket ended before the answer.
    #[error("the generic netlink socket closed")]
    Closed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel refused.
    #[error("the kernel did not {what}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// The family has no number in the kernel's answer.
    #[error("the kernel gave no number for '{FAMILY}'")]
    NoFamilyNumber,
    /// The device could not be created or found.
    #[error("cannot create the device")]
    Link(#[from] LinkError),
}

/// Whether the kernel has WireGuard, its module loaded if need be.
pub(super) async fn is_there() -> Result<bool, KernelError> {
    match family_number().await {
        Ok(_) => Ok(true),
        Err(KernelError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A device of the kernel's.
pub(super) struct Kernel {
    netlink: ConnectionHandle<GenlMessage<WireguardMessage>>,
    family: u16,
    device: String,
    port: u16,
    public_key: PublicKey,
    /// The endpoints last told: the device's own follow the peers' packets.
    told: Peers,
}

impl Kernel {
    pub(super) async fn open(route: &Handle, config: &TunnelConfig) -> Result<Self, KernelError> {
        ensure_device(route, &config.device).await?;
        let mut kernel = Self {
            netlink: connect()?,
            family: family_number().await?,
            device: config.device.clone(),
            port: config.port,
            public_key: config.private_key.public_key(),
            told: Peers::new(),
        };
        let message = message::set_device(&config.device, &config.private_key, config.port);
        kernel.set("take its key and port", message).await?;
        kernel.told = kernel.read_peers().await?;
        Ok(kernel)
    }

    pub(super) async fn configure(
        &mut self,
        wanted: &BTreeMap<PublicKey, Entry>,
    ) -> Result<(), KernelError> {
        let wanted = wanted_peers(wanted, self.public_key);
        let mut current = self.read_peers().await?;
        for (key, peer) in &mut current {
            if let Some(told) = self.told.get(key) {
                peer.endpoint = told.endpoint;
            }
        }
        for message in message::set_peers(&self.device, &changes(&current, &wanted)) {
            self.set("take its peers", message).await?;
        }
        self.told = wanted;
        Ok(())
    }

    /// Takes another key: what comes in sessions with the former is still taken, what goes out waits for new ones.
    pub(super) async fn set_key(&mut self, key: &PrivateKey) -> Result<(), KernelError> {
        let message = message::set_device(&self.device, key, self.port);
        self.set("take another key", message).await?;
        self.public_key = key.public_key();
        Ok(())
    }

    pub(super) async fn stats(&self) -> Result<BTreeMap<PublicKey, PeerStats>, KernelError> {
        let found = self.read().await?;
        Ok(found
            .into_iter()
            .map(|(key, peer)| (key, peer.stats))
            .collect())
    }

    async fn read_peers(&self) -> Result<Peers, KernelError> {
        let found = self.read().await?;
        let config = |peer: message::FoundPeer| {
            Some(PeerConfig {
                endpoint: peer.stats.endpoint?,
                allowed_ips: peer.allowed_ips,
                is_used: peer.keepalive != 0,
            })
        };
        // One without an endpoint was added by hand: it counts as unlike any wanted peer.
        let unlike = || PeerConfig {
            endpoint: (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            allowed_ips: BTreeSet::new(),
            is_used: false,
        };
        Ok(found
            .into_iter()
            .map(|(key, peer)| (key, config(peer).unwrap_or_else(unlike)))
            .collect())
    }

    async fn read(&self) -> Result<BTreeMap<PublicKey, message::FoundPeer>, KernelError> {
        let mut request = GenlMessage::from_payload(message::get_device(&self.device));
        request.set_resolved_family_id(self.family);
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        let answers = exchange(&self.netlink, "show its peers", request, flags).await?;
        let messages = answers.into_iter().map(|answer| answer.payload);
        Ok(message::found_peers(messages))
    }

    async fn set(&self, what: &'static str, message: WireguardMessage) -> Result<(), KernelError> {
        let mut request = GenlMessage::from_payload(message);
        request.set_resolved_family_id(self.family);
        exchange(&self.netlink, what, request, NLM_F_REQUEST | NLM_F_ACK).await?;
        Ok(())
    }
}

/// Makes the device unless there is one; a TUN device of the same name, left by an embedded tunnel, gives way.
async fn ensure_device(route: &Handle, device: &str) -> Result<(), KernelError> {
    if let Some(found) = link::find(route, device).await? {
        if link::kind(&found) == Some(&InfoKind::Wireguard) {
            return Ok(());
        }
        link::delete_if_tunnel(route, device).await?;
    }
    let request = route.link().add(LinkWireguard::new(device).build());
    let added = request.execute().await;
    Ok(added.map_err(|source| link::refusal("create", device, source))?)
}

/// The number that the kernel gave the family when it loaded.
async fn family_number() -> Result<u16, KernelError> {
    let netlink = connect()?;
    let request = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())],
    });
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    let answers = exchange(&netlink, "find WireGuard", request, flags).await?;
    let mut attributes = answers.iter().flat_map(|answer| &answer.payload.nlas);
    attributes
        .find_map(|attribute| match attribute {
            GenlCtrlAttrs::FamilyId(number) => Some(*number),
            GenlCtrlAttrs::FamilyName(_)
            | GenlCtrlAttrs::Version(_)
            | GenlCtrlAttrs::HdrSize(_)
            | GenlCtrlAttrs::MaxAttr(_)
            | GenlCtrlAttrs::Ops(_)
            | GenlCtrlAttrs::McastGroups(_)
            | GenlCtrlAttrs::Policy(_)
            | GenlCtrlAttrs::OpPolicy(_)
            | GenlCtrlAttrs::Op(_) => None,
        })
        .ok_or(KernelError::NoFamilyNumber)
}

fn connect<T>() -> Result<ConnectionHandle<T>, KernelError>
where
    T: std::fmt::Debug + NetlinkSerializable + NetlinkDeserializable + Send + Unpin + 'static,
{
    let (connection, handle, _) = new_connection(NETLINK_GENERIC).map_err(KernelError::Socket)?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Sends a request and collects the answers until the kernel says that there are no more.
async fn exchange<T>(
    netlink: &ConnectionHandle<T>,
    what: &'static str,
    request: T,
    flags: u16,
) -> Result<Vec<T>, KernelError>
where
    T: std::fmt::Debug + NetlinkSerializable,
{
    let mut message =
        NetlinkMessage::new(Default::default(), NetlinkPayload::InnerMessage(request));
    message.header.flags = flags;
    message.finalize();
    let kernel = SocketAddr::new(0, 0);
    let mut answers = netlink.request(message, kernel).map_err(closed)?;
    let mut found = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::InnerMessage(inner) => found.push(inner),
            NetlinkPayload::Error(error) if error.raw_code() != 0 => {
                let source = error.to_io();
                return Err(KernelError::Refused { what, source });
            }
            NetlinkPayload::Error(_)
            | NetlinkPayload::Done(_)
            | NetlinkPayload::Noop
            | NetlinkPayload::Overrun(_) => {}
            _ => {}
        }
    }
    Ok(found)
}

fn closed(error: NetlinkProtoError) -> KernelError {
    KernelError::Closed(error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_says_whether_it_has_wireguard() {
        let has_module = std::path::Path::new("/sys/module/wireguard").exists();

        let is_there = is_there().await.unwrap();

        // Asking loads the module where there is one, so only a loaded one settles the answer.
        assert!(is_there || !has_module);
    }
}
