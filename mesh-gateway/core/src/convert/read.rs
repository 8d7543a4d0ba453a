//! Reads the updates of a snapshot without the messages in between, where they are endpoints in the form that this version
//! writes; all others take the way of every other update, which comes to the same.
//!
//! What neighbours have alike is read once: the service, the ports, and the names of nodes and zones.

use std::{collections::BTreeSet, sync::Arc};

use cluster_registry::{
    endpoint::{Endpoint, EndpointPort},
    name::{ClusterName, NodeName, ServiceName},
    resource::{Key, Resource, ResourceId},
};
use prost::Message;

use super::{
    decode::{Origins, decode_address, decode_origin, decode_update, decode_zone, service},
    write::{
        ADDRESS_TAG, CONDITIONS_TAG, ID_TAG, NAME_TAG, NAMESPACE_TAG, NODE_TAG, ORIGIN_TAG,
        PORT_TAG, VALUE_TAG, ZONE_TAG,
    },
};
use crate::{
    limits::{MAX_KNOWN_NAMES, MAX_UPDATES_PER_FRAME},
    reason::{Refusal, Violation},
    update::Update,
    wire,
};

/// The tag of an update within [`wire::Updates`].
const UPDATE_TAG: u8 = 1 << 3 | 2;

/// Reads the frames of one peer's snapshots.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    /// The last service, with the bytes of its name.
    service: Option<(Vec<u8>, ServiceName)>,
    /// The last ports, with their bytes.
    ports: Option<(Vec<u8>, Arc<[EndpointPort]>)>,
    /// The last cluster that was named.
    origin: Option<ClusterName>,
    nodes: BTreeSet<NodeName>,
    zones: BTreeSet<Arc<str>>,
}

impl SnapshotReader {
    /// The updates of a frame, and what is not taken of it, each in its order.
    pub fn read(
        &mut self,
        bytes: &[u8],
        peer: &ClusterName,
        origins: Origins,
    ) -> Result<(Vec<Update>, Vec<Refusal>), Violation> {
        let mut taken = Vec::new();
        let mut refused = Vec::new();
        let mut sort = |update| match update {
            Ok(update) => taken.push(update),
            Err(refusal) => refused.push(refusal),
        };
        if let Some(updates) = split(bytes) {
            check_count(updates.len())?;
            for bytes in updates {
                if let Some(update) = self.read_endpoint(bytes, peer, origins) {
                    sort(Ok(update));
                    continue;
                }
                let update = wire::Update::decode(bytes);
                let update = update.map_err(|_malformed| Violation::BadPacking)?;
                sort(decode_update(update, peer, origins));
            }
        } else {
            let frame = wire::Updates::decode(bytes);
            let frame = frame.map_err(|_malformed| Violation::BadPacking)?;
            check_count(frame.updates.len())?;
            let updates = frame.updates.into_iter();
            updates.for_each(|update| sort(decode_update(update, peer, origins)));
        }
        Ok((taken, refused))
    }

    /// How many names of nodes, and of zones, are remembered.
    #[cfg(test)]
    pub(super) fn known(&self) -> (usize, usize) {
        (self.nodes.len(), self.zones.len())
    }

    /// An endpoint in the usual form; `None` of all else.
    fn read_endpoint(
        &mut self,
        bytes: &[u8],
        peer: &ClusterName,
        origins: Origins,
    ) -> Option<Update> {
        let mut update = Fields(bytes);
        let mut id = Fields(update.take(&[ID_TAG])?);
        let value = Fields(update.take(&[VALUE_TAG])?);
        let origin = update.take(&ORIGIN_TAG);
        if !update.is_empty() {
            return None;
        }
        let cluster = match origin {
            None => peer.clone(),
            Some(origin) => self.origin(origin, peer, origins)?,
        };
        let service = self.service(&mut id)?;
        let address = decode_address(id.take(&[ADDRESS_TAG])?).ok()?;
        if !id.is_empty() {
            return None;
        }
        let endpoint = self.endpoint(value)?;
        Some(Update {
            key: Key {
                cluster,
                id: ResourceId::Endpoint(service, address),
            },
            value: Some(Resource::from(endpoint)),
            trace: None,
        })
    }

    fn origin(
        &mut self,
        bytes: &[u8],
        peer: &ClusterName,
        origins: Origins,
    ) -> Option<ClusterName> {
        let text = std::str::from_utf8(bytes).ok()?;
        let last = self.origin.as_ref();
        if let Some(last) = last.filter(|last| last.as_str() == text) {
            return Some(last.clone());
        }
        let origin = decode_origin(text, peer, origins).ok()?;
        // An empty one names nobody, and stands for the peer.
        self.origin = Some(origin.clone()).filter(|origin| origin.as_str() == text);
        Some(origin)
    }

    fn service(&mut self, id: &mut Fields<'_>) -> Option<ServiceName> {
        if let Some((bytes, service)) = &self.service
            && id.skip(bytes)
        {
            return Some(service.clone());
        }
        let before = id.0;
        let namespace = id.take_text(NAMESPACE_TAG)?;
        let name = id.take_text(NAME_TAG)?;
        let service = ServiceName::parse(namespace, name).ok()?;
        let bytes = before.strip_suffix(id.0)?.to_vec();
        self.service = Some((bytes, service.clone()));
        Some(service)
    }

    fn endpoint(&mut self, mut value: Fields<'_>) -> Option<Endpoint> {
        let ports = self.ports(&mut value)?;
        let conditions = value.take_small(CONDITIONS_TAG).unwrap_or_default();
        let node = match value.take_text(NODE_TAG) {
            None | Some("") => None,
            Some(name) => Some(self.node(name)?),
        };
        let zone = match value.take_text(ZONE_TAG) {
            None | Some("") => None,
            Some(zone) => Some(self.zone(zone)?),
        };
        value.is_empty().then(|| Endpoint {
            ports,
            conditions: service::decode_conditions(u32::from(conditions)),
            node,
            zone,
            hostname: None,
            hints: None,
        })
    }

    fn ports(&mut self, value: &mut Fields<'_>) -> Option<Arc<[EndpointPort]>> {
        let before = value.0;
        let mut ports = Vec::new();
        while let Some(port) = value.take(&[PORT_TAG]) {
            ports.push(port);
        }
        let bytes = before.strip_suffix(value.0)?;
        if let Some((last, ports)) = &self.ports
            && last == bytes
        {
            return Some(Arc::clone(ports));
        }
        let ports = ports.into_iter().map(wire::Port::decode);
        let ports: Vec<wire::Port> = ports.collect::<Result<_, _>>().ok()?;
        let ports: Arc<[EndpointPort]> = service::decode_ports(&ports).ok()?.into();
        self.ports = Some((bytes.to_vec(), Arc::clone(&ports)));
        Some(ports)
    }

    fn node(&mut self, name: &str) -> Option<NodeName> {
        if let Some(known) = self.nodes.get(name) {
            return Some(known.clone());
        }
        let node = NodeName::parse(name).ok()?;
        if self.nodes.len() >= MAX_KNOWN_NAMES {
            self.nodes.clear();
        }
        self.nodes.insert(node.clone());
        Some(node)
    }

    fn zone(&mut self, text: &str) -> Option<Arc<str>> {
        if let Some(known) = self.zones.get(text) {
            return Some(Arc::clone(known));
        }
        let zone: Arc<str> = decode_zone(text.to_owned()).ok()??.into();
        if self.zones.len() >= MAX_KNOWN_NAMES {
            self.zones.clear();
        }
        self.zones.insert(Arc::clone(&zone));
        Some(zone)
    }
}

/// The bytes of each update of a frame; `None` if there is anything else in it.
fn split(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut frame = Fields(bytes);
    let mut updates = Vec::new();
    while !frame.is_empty() {
        updates.push(frame.take(&[UPDATE_TAG])?);
    }
    Some(updates)
}

fn check_count(updates: usize) -> Result<(), Violation> {
    if updates > MAX_UPDATES_PER_FRAME {
        return Err(Violation::TooManyUpdates);
    }
    Ok(())
}

/// The rest of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Steps over some bytes, if they come next.
    fn skip(&mut self, bytes: &[u8]) -> bool {
        let rest = self.0.strip_prefix(bytes);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// The bytes of the next field, if it has this tag.
    fn take(&mut self, tag: &[u8]) -> Option<&'a [u8]> {
        // Longer lengths than of two bytes are of no use here.
        let (length, rest) = match self.0.strip_prefix(tag)? {
            [length, rest @ ..] if *length < 0x80 => (usize::from(*length), rest),
            [low, high, rest @ ..] if *high < 0x80 => {
                (usize::from(low & 0x7f) | usize::from(*high) << 7, rest)
            }
            _too_long => return None,
        };
        let (bytes, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn take_text(&mut self, tag: u8) -> Option<&'a str> {
        let mut fields = Fields(self.0);
        let text = std::str::from_utf8(fields.take(&[tag])?).ok()?;
        self.0 = fields.0;
        Some(text)
    }

    /// The next field, if it has this tag and a number of one byte.
    fn take_small(&mut self, tag: u8) -> Option<u8> {
        match self.0 {
            [found, number, rest @ ..] if *found == tag && *number < 0x80 => {
                self.0 = rest;
                Some(*number)
            }
            _other => None,
        }
    }
}
