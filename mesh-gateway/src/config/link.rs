//! Reads a link from the text of a flag, and writes one down for people.

use std::{
    collections::BTreeSet,
    num::ParseIntError,
    str::{FromStr, ParseBoolError},
};

use cluster_registry::{
    import::Namespaces,
    link::{Dial, LinkSpec, ParseAddressError, PeerAddress},
    name::{ClusterName, Namespace, ParseNameError},
};
use ipnet::{AddrParseError as ParseRangeError, IpNet};
use serde_json::{Value, json};

/// Why a text is no link.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseLinkError {
    #[error("'{0}' is not key=value")]
    NotAPair(String),
    #[error(
        "'{0}' is not one of name, address, dial, namespaces, cidrs, exports, max-services, max-endpoints, max-nodes, \
         max-updates, trust-timestamps"
    )]
    UnknownKey(String),
    #[error("'{0}' is there twice")]
    Twice(String),
    #[error("name=CLUSTER is missing")]
    NoName,
    #[error("'{0}' is not a valid name")]
    Name(String, #[source] ParseNameError),
    #[error("'{0}' is not where a gateway can be")]
    Address(String, #[source] ParseAddressError),
    #[error("'{0}' is not auto, always or never")]
    Dial(String),
    #[error("'{0}' is not a range such as 10.2.0.0/16")]
    Range(String, #[source] ParseRangeError),
    #[error("'{0}' is not a number")]
    Number(String, #[source] ParseIntError),
    #[error("'{0}' is not true or false")]
    Flag(String, #[source] ParseBoolError),
}

/// Reads a link such as `name=west,address=192.0.2.2:4700`.
pub(crate) fn parse(text: &str) -> Result<LinkSpec, ParseLinkError> {
    let pairs: Result<Vec<(&str, &str)>, ParseLinkError> = text.split(',').map(pair).collect();
    let pairs = pairs?;
    let name = pairs.iter().find(|(key, _)| *key == "name");
    let (_, name) = name.ok_or(ParseLinkError::NoName)?;
    let mut link = LinkSpec::new(parse_cluster(name)?);
    let mut seen = BTreeSet::new();
    for (key, value) in pairs {
        if key != "address" && !seen.insert(key) {
            return Err(ParseLinkError::Twice(key.to_owned()));
        }
        match key {
            "name" => {}
            "address" => link.addresses.push(parse_address(value)?),
            "dial" => link.dial = parse_dial(value)?,
            "namespaces" => link.grants.namespaces = parse_namespaces(value)?,
            "cidrs" => link.grants.cidrs = parse_cidrs(value)?,
            "exports" => link.export_to = parse_namespaces(value)?,
            "max-services" => link.limits.services = parse_number(value)?,
            "max-endpoints" => link.limits.endpoints = parse_number(value)?,
            "max-nodes" => link.limits.nodes = parse_number(value)?,
            "max-updates" => link.limits.updates_per_second = parse_number(value)?,
            "trust-timestamps" => link.trust_timestamps = parse_flag(value)?,
            other => return Err(ParseLinkError::UnknownKey(other.to_owned())),
        }
    }
    Ok(link)
}

/// The link for people to read.
pub(crate) fn describe(link: &LinkSpec) -> Value {
    let cidrs: Vec<String> = link.grants.cidrs.iter().map(IpNet::to_string).collect();
    let addresses: Vec<String> = link.addresses.iter().map(PeerAddress::to_string).collect();
    json!({
        "name": link.cluster.as_str(),
        "address": addresses,
        "dial": match link.dial {
            Dial::Auto => "auto",
            Dial::Always => "always",
            Dial::Never => "never",
        },
        "namespaces": describe_namespaces(&link.grants.namespaces),
        "cidrs": cidrs,
        "exports": describe_namespaces(&link.export_to),
        "max-services": link.limits.services,
        "max-endpoints": link.limits.endpoints,
        "max-nodes": link.limits.nodes,
        "max-updates": link.limits.updates_per_second,
        "trust-timestamps": link.trust_timestamps,
    })
}

fn describe_namespaces(namespaces: &Namespaces) -> Value {
    match namespaces {
        Namespaces::All => Value::Null,
        Namespaces::Only(names) => names.iter().map(Namespace::as_str).collect(),
    }
}

fn pair(text: &str) -> Result<(&str, &str), ParseLinkError> {
    text.split_once('=')
        .ok_or_else(|| ParseLinkError::NotAPair(text.to_owned()))
}

fn parse_cluster(text: &str) -> Result<ClusterName, ParseLinkError> {
    ClusterName::parse(text).map_err(|error| ParseLinkError::Name(text.to_owned(), error))
}

fn parse_address(text: &str) -> Result<PeerAddress, ParseLinkError> {
    text.parse()
        .map_err(|error| ParseLinkError::Address(text.to_owned(), error))
}

fn parse_dial(text: &str) -> Result<Dial, ParseLinkError> {
    match text {
        "auto" => Ok(Dial::Auto),
        "always" => Ok(Dial::Always),
        "never" => Ok(Dial::Never),
        other => Err(ParseLinkError::Dial(other.to_owned())),
    }
}

fn parse_namespaces(text: &str) -> Result<Namespaces, ParseLinkError> {
    let parse = |name: &str| {
        Namespace::parse(name).map_err(|error| ParseLinkError::Name(name.to_owned(), error))
    };
    let names: Result<BTreeSet<Namespace>, _> = text.split('+').map(parse).collect();
    Ok(Namespaces::Only(names?))
}

fn parse_cidrs(text: &str) -> Result<Vec<IpNet>, ParseLinkError> {
    let parse = |range: &str| {
        let range: IpNet = range
            .parse()
            .map_err(|error| ParseLinkError::Range(range.to_owned(), error))?;
        Ok(range.trunc())
    };
    text.split('+').map(parse).collect()
}

fn parse_number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, ParseLinkError> {
    text.parse()
        .map_err(|error| ParseLinkError::Number(text.to_owned(), error))
}

fn parse_flag(text: &str) -> Result<bool, ParseLinkError> {
    text.parse()
        .map_err(|error| ParseLinkError::Flag(text.to_owned(), error))
}
