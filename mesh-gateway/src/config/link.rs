//! A link: the wish to have a peer, with where it is, who dials, and what it may announce.

use std::{
    collections::BTreeSet,
    net::{AddrParseError, SocketAddr},
    str::FromStr,
};

use cluster_registry::{
    import::{Grants, Namespaces},
    name::{ClusterName, Namespace, ParseNameError},
};
use ipnet::{AddrParseError as ParseRangeError, IpNet};
use serde_json::{Value, json};

/// Whether this side dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Dial {
    /// The side whose name sorts first dials.
    #[default]
    Auto,
    /// This side dials, whatever the names.
    Always,
    /// This side waits to be dialled.
    Never,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) cluster: ClusterName,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) dial: Dial,
    pub(crate) grants: Grants,
}

/// Why a text is no link.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseLinkError {
    #[error("'{0}' is not key=value")]
    NotAPair(String),
    #[error("'{0}' is not one of name, address, dial, namespaces, cidrs")]
    UnknownKey(String),
    #[error("'{0}' is there twice")]
    Twice(&'static str),
    #[error("name=CLUSTER is missing")]
    NoName,
    #[error("'{0}' is not a valid name")]
    Name(String, #[source] ParseNameError),
    #[error("'{0}' is not IP:PORT")]
    Address(String, #[source] AddrParseError),
    #[error("'{0}' is not auto, always or never")]
    Dial(String),
    #[error("'{0}' is not a range such as 10.2.0.0/16")]
    Range(String, #[source] ParseRangeError),
}

impl Link {
    /// Whether the cluster that has this link dials.
    pub(crate) fn is_dialled_by(&self, own: &ClusterName) -> bool {
        match self.dial {
            Dial::Auto => *own < self.cluster,
            Dial::Always => true,
            Dial::Never => false,
        }
    }

    /// The link for people to read.
    pub(crate) fn describe(&self) -> Value {
        let namespaces = match &self.grants.namespaces {
            Namespaces::All => Value::Null,
            Namespaces::Only(names) => names.iter().map(Namespace::as_str).collect(),
        };
        let cidrs: Vec<String> = self.grants.cidrs.iter().map(IpNet::to_string).collect();
        json!({
            "name": self.cluster.as_str(),
            "address": self.addresses,
            "dial": match self.dial {
                Dial::Auto => "auto",
                Dial::Always => "always",
                Dial::Never => "never",
            },
            "namespaces": namespaces,
            "cidrs": cidrs,
        })
    }
}

impl FromStr for Link {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut cluster = None;
        let mut addresses = Vec::new();
        let mut dial = None;
        let mut namespaces = None;
        let mut cidrs = None;
        for pair in text.split(',') {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| ParseLinkError::NotAPair(pair.to_owned()))?;
            match key {
                "name" => set(&mut cluster, "name", parse_cluster(value)?)?,
                "address" => addresses.push(parse_address(value)?),
                "dial" => set(&mut dial, "dial", parse_dial(value)?)?,
                "namespaces" => set(&mut namespaces, "namespaces", parse_namespaces(value)?)?,
                "cidrs" => set(&mut cidrs, "cidrs", parse_cidrs(value)?)?,
                other => return Err(ParseLinkError::UnknownKey(other.to_owned())),
            }
        }
        Ok(Self {
            cluster: cluster.ok_or(ParseLinkError::NoName)?,
            addresses,
            dial: dial.unwrap_or_default(),
            grants: Grants {
                namespaces: namespaces.unwrap_or_default(),
                cidrs: cidrs.unwrap_or_default(),
            },
        })
    }
}

fn set<T>(slot: &mut Option<T>, key: &'static str, value: T) -> Result<(), ParseLinkError> {
    if slot.replace(value).is_some() {
        return Err(ParseLinkError::Twice(key));
    }
    Ok(())
}

fn parse_cluster(text: &str) -> Result<ClusterName, ParseLinkError> {
    ClusterName::parse(text).map_err(|error| ParseLinkError::Name(text.to_owned(), error))
}

fn parse_address(text: &str) -> Result<SocketAddr, ParseLinkError> {
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
