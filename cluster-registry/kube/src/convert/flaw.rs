//! What is wrong with a part of an object that otherwise counts.

use std::fmt;

use cluster_registry::{link::ParseAddressError, name::ParseNameError, service::Protocol};

/// How many flaws of one object are told; a slice may have a thousand bad endpoints for one reason.
const MAX_FLAWS_TOLD: usize = 3;

/// A part of an object that is left out, or replaced by a default.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("annotation {annotation} is '{value}', not {expected}: '{taken}' is taken")]
    Annotation {
        annotation: &'static str,
        value: String,
        expected: &'static str,
        taken: &'static str,
    },
    #[error("{field} is '{value}', not {expected}: {}", OrNothing(taken))]
    Value {
        field: &'static str,
        value: String,
        expected: &'static str,
        /// Empty when nothing is taken instead.
        taken: &'static str,
    },
    #[error("it has more than {most} {what}: the rest is left out")]
    TooMany { what: &'static str, most: usize },
    #[error(
        "none of its loadBalancerSourceRanges is a range, so nobody may use its load balancer's addresses"
    )]
    NoSourceRange,
    #[error(
        "not all of the loadBalancerSourceRanges that are to be kept out can be, so nobody may use its load balancer's \
         addresses"
    )]
    LostSourceRange,
    #[error("{role} '{text}' {fault}: it is left out")]
    Address {
        role: &'static str,
        text: String,
        fault: AddressFault,
    },
    #[error(
        "it has neither a clusterIP nor 'clusterIP: None', so clients of this cluster cannot dial it"
    )]
    NoClusterIp,
    #[error("cluster IP '{0}' is a second one of its family: it is left out")]
    SecondClusterIp(String),
    #[error("port {0} is not between 1 and 65535: it is left out")]
    PortNumber(i32),
    #[error("protocol '{0}' is not TCP, UDP or SCTP: its port is left out")]
    Protocol(String),
    #[error("port name '{name}' is not valid ({fault}): the port is left out")]
    PortName { name: String, fault: ParseNameError },
    #[error("port {number}/{protocol} is there twice: the second is left out")]
    PortTwice { number: u16, protocol: Protocol },
    #[error("two {protocol} ports are named '{name}': the second is left out")]
    PortNameTwice { name: String, protocol: Protocol },
    #[error("an endpoint has no address: it is left out")]
    NoAddress,
    #[error("nodeName '{name}' is not valid ({fault}): the endpoint counts without its node")]
    EndpointNode { name: String, fault: ParseNameError },
    #[error("{role} '{text}' is not a label: it is left out")]
    Label { role: &'static str, text: String },
    #[error("'{0}' is a second IP of its family: it is left out")]
    SecondImportIp(String),
    #[error(
        "exportedLabels and exportedAnnotations have {bytes} bytes, more than {max}: they are left out"
    )]
    ExportedTooLong { bytes: usize, max: usize },
    #[error("address '{text}' is not valid ({fault}): it is left out")]
    PeerAddress {
        text: String,
        fault: ParseAddressError,
    },
    #[error("dial is Always, but there is no address to dial: add one to spec.addresses")]
    NothingToDial,
    #[error(
        "no range of spec.grants.cidrs is left: the link does not count; leave cidrs out to set no limit"
    )]
    NoGrantedRange,
    #[error("namespace '{name}' is not valid ({fault}): it is left out")]
    LinkNamespace { name: String, fault: ParseNameError },
    #[error("limit {name} is {value}, not a positive number: the default is taken")]
    Limit { name: &'static str, value: i64 },
    #[error("field {field} is not known: the link does not count")]
    UnknownField { field: String },
    #[error("it has no address of type InternalIP, so no tunnel can reach it")]
    NoInternalIp,
}

/// What becomes of a value that is not taken.
struct OrNothing<'a>(&'a str);

impl fmt::Display for OrNothing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("it is left out"),
            taken => write!(f, "'{taken}' is taken"),
        }
    }
}

/// Why a text is not an address, or a range of addresses, that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressFault {
    #[error("is not an IP address")]
    NotAnAddress,
    #[error("is not a range of IP addresses")]
    NotARange,
    #[error("is not an address of the slice's addressType")]
    OtherFamily,
    #[error("is of a family that the service does not have")]
    LackedFamily,
    #[error("is the unspecified address")]
    Unspecified,
    #[error("is a loopback address")]
    Loopback,
    #[error("is a link-local address")]
    LinkLocal,
    #[error("is a multicast address")]
    Multicast,
    #[error("is an IPv4 address in IPv6 form")]
    Mapped,
    #[error("holds every address")]
    DefaultRoute,
}

/// Shows some flaws in one line.
pub(crate) struct FlawList<'a>(pub(crate) &'a [Flaw]);

impl fmt::Display for FlawList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, flaw) in self.0.iter().take(MAX_FLAWS_TOLD).enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{flaw}")?;
        }
        match self.0.len().checked_sub(MAX_FLAWS_TOLD) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "; and {more} more"),
        }
    }
}
