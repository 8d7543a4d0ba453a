//! Writes updates as they go onto the wire without the messages in between: those of endpoints, of which a snapshot mostly
//! consists and all of which are digested when an epoch ends.
//!
//! What stands here is [`encode_change`]'s and prost's to the byte, as a test holds it to.

use std::net::IpAddr;

use cluster_registry::{
    endpoint::{Endpoint, EndpointPort},
    name::{ClusterName, ServiceName},
    resource::{Key, Resource, ResourceId},
    service::Protocol,
    store::Change,
};
use prost::Message;

use super::encode::{
    encode_change, encode_id, encode_value,
    service::{encode_conditions, encode_hints},
};
use crate::wire;

/// The tag of a field of bytes: its number and how its length is given.
const fn tag(field: u8) -> u8 {
    field << 3 | 2
}

/// The tag of a field with a number.
const fn number_tag(field: u8) -> u8 {
    field << 3
}

/// The tag of `origin`, whose number is too large for one byte.
pub(super) const ORIGIN_TAG: [u8; 2] = [0x82, 0x01];

/// The tags of an update's endpoint: as its id, and as its value.
pub(super) const ID_TAG: u8 = tag(5);
pub(super) const VALUE_TAG: u8 = tag(13);

/// The tags within an endpoint's id.
pub(super) const NAMESPACE_TAG: u8 = tag(1);
pub(super) const NAME_TAG: u8 = tag(2);
pub(super) const ADDRESS_TAG: u8 = tag(3);

/// The tags within an endpoint.
pub(super) const PORT_TAG: u8 = tag(1);
pub(super) const CONDITIONS_TAG: u8 = number_tag(2);
pub(super) const NODE_TAG: u8 = tag(3);
pub(super) const ZONE_TAG: u8 = tag(4);
const HOSTNAME_TAG: u8 = tag(5);
const HINTS_TAG: u8 = tag(6);

/// The tags within a port.
const PORT_NAME_TAG: u8 = tag(1);
const PROTOCOL_TAG: u8 = number_tag(2);
const PORT_NUMBER_TAG: u8 = number_tag(3);

/// Appends a change as an update; `own` is the cluster that the sender speaks for.
pub fn write_change(change: &Change, own: &ClusterName, out: &mut Vec<u8>) {
    let Change {
        key, value, trace, ..
    } = change;
    if let ResourceId::Endpoint(service, address) = &key.id
        && let Some(Resource::Endpoint(endpoint)) = value
        && trace.is_none()
    {
        let origin = Some(&key.cluster).filter(|cluster| *cluster != own);
        write_endpoint(service, *address, Some(endpoint), origin, out);
    } else {
        encode_change(change, own).encode_raw(out);
    }
}

/// A key and its value as they are digested: an update with its origin and without its trace.
///
/// A key alone is an update that says neither that it is gone nor its value.
pub fn encode_for_digest(key: &Key, value: Option<&Resource>, out: &mut Vec<u8>) {
    let endpoint = match value {
        Some(Resource::Endpoint(endpoint)) => Some(endpoint.as_ref()),
        Some(_) | None => None,
    };
    if let ResourceId::Endpoint(service, address) = &key.id
        && endpoint.is_some() == value.is_some()
    {
        write_endpoint(service, *address, endpoint, Some(&key.cluster), out);
        return;
    }
    let update = wire::Update {
        id: Some(encode_id(&key.id)),
        gone: false,
        value: value.map(encode_value),
        origin: key.cluster.as_str().to_owned(),
        trace: Vec::new(),
    };
    update.encode_raw(out);
}

fn write_endpoint(
    service: &ServiceName,
    address: IpAddr,
    endpoint: Option<&Endpoint>,
    origin: Option<&ClusterName>,
    out: &mut Vec<u8>,
) {
    write_message(&[ID_TAG], out, |out| {
        write_text(NAMESPACE_TAG, service.namespace.as_str(), out);
        write_text(NAME_TAG, service.name.as_str(), out);
        match address {
            IpAddr::V4(address) => write_bytes(&[ADDRESS_TAG], &address.octets(), out),
            IpAddr::V6(address) => write_bytes(&[ADDRESS_TAG], &address.octets(), out),
        }
    });
    if let Some(endpoint) = endpoint {
        write_message(&[VALUE_TAG], out, |out| write_value(endpoint, out));
    }
    if let Some(origin) = origin {
        write_bytes(&ORIGIN_TAG, origin.as_str().as_bytes(), out);
    }
}

fn write_value(endpoint: &Endpoint, out: &mut Vec<u8>) {
    for port in endpoint.ports.iter() {
        write_message(&[PORT_TAG], out, |out| write_port(port, out));
    }
    write_number(CONDITIONS_TAG, encode_conditions(endpoint.conditions), out);
    let node = endpoint.node.as_ref().map(|node| node.as_str());
    write_text(NODE_TAG, node.unwrap_or_default(), out);
    write_text(ZONE_TAG, endpoint.zone.as_deref().unwrap_or_default(), out);
    let hostname = endpoint.hostname.as_deref();
    write_text(HOSTNAME_TAG, hostname.unwrap_or_default(), out);
    if let Some(hints) = &endpoint.hints {
        write_message(&[HINTS_TAG], out, |out| encode_hints(hints).encode_raw(out));
    }
}

fn write_port(port: &EndpointPort, out: &mut Vec<u8>) {
    let name = port.name.as_ref().map(|name| name.as_str());
    write_text(PORT_NAME_TAG, name.unwrap_or_default(), out);
    let protocol = match port.protocol {
        Protocol::Tcp => 0,
        Protocol::Udp | Protocol::Sctp => u32::from(port.protocol.number()),
    };
    write_number(PROTOCOL_TAG, protocol, out);
    write_number(PORT_NUMBER_TAG, u32::from(port.port), out);
}

/// Appends an update to the message [`wire::Updates`].
pub fn append_update(update: &[u8], updates: &mut Vec<u8>) {
    write_bytes(&[tag(1)], update, updates);
}

/// Writes a message within another one, whose length is only known behind it: nearly always it takes one byte.
fn write_message(tag: &[u8], out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(tag);
    let at = out.len();
    out.push(0);
    body(out);
    let length = out.len() - at - 1;
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out[at] = short,
        Ok(_) | Err(_) => {
            let mut long = Vec::new();
            write_varint(length, &mut long);
            out.splice(at..=at, long);
        }
    }
}

/// A field that has its default takes no bytes.
fn write_text(tag: u8, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        write_bytes(&[tag], text.as_bytes(), out);
    }
}

fn write_number(tag: u8, number: u32, out: &mut Vec<u8>) {
    if number != 0 {
        out.push(tag);
        write_varint(number as usize, out);
    }
}

fn write_bytes(tag: &[u8], bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(tag);
    write_varint(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn write_varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        out.push(low | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}
