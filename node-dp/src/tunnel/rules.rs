//! The rules by which packets of the node's own pods look up the routes to the own cluster's pods first.
//!
//! Only what comes from the pods' own ranges does: what a node sends itself, or sends on for a client outside, has an address
//! that no tunnel lets through.

use std::{collections::BTreeSet, net::IpAddr};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        AddressFamily,
        route::RouteProtocol,
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};

use super::routes::{INSIDE_TABLE, ROUTE_PROTOCOL, RouteError};

/// Where our rules stand: before the main table (32766), and before what network plugins commonly add.
const PRIORITY: u32 = 73;

/// The ranges that rules of ours are for.
pub(super) async fn list(netlink: &Handle) -> Result<BTreeSet<IpNet>, RouteError> {
    let mut found = BTreeSet::new();
    for family in [IpVersion::V4, IpVersion::V6] {
        let listed: Result<Vec<RuleMessage>, _> =
            netlink.rule().get(family).execute().try_collect().await;
        match listed {
            Ok(rules) => found.extend(rules.iter().filter_map(sources)),
            // A kernel without rules for a family has none of ours.
            Err(error) if is(&error, libc::EOPNOTSUPP) || is(&error, libc::EAFNOSUPPORT) => {}
            Err(source) => {
                return Err(RouteError::Rule {
                    what: "list",
                    sources: "anywhere".to_owned(),
                    source,
                });
            }
        }
    }
    Ok(found)
}

/// Adds and removes what is needed; all are tried, and the error is the first.
pub(super) async fn change(
    netlink: &Handle,
    found: &BTreeSet<IpNet>,
    wanted: &BTreeSet<IpNet>,
) -> Result<(), RouteError> {
    let mut first_error = None;
    for prefix in wanted.difference(found) {
        let mut request = netlink.rule().add();
        *request.message_mut() = message(*prefix);
        match request.execute().await {
            Err(error) if !is(&error, libc::EEXIST) => {
                first_error.get_or_insert_with(|| refusal("add", prefix, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    for prefix in found.difference(wanted) {
        match netlink.rule().del(message(*prefix)).execute().await {
            Err(error) if !is(&error, libc::ENOENT) => {
                first_error.get_or_insert_with(|| refusal("remove", prefix, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// The range that a rule is for, if it is one of ours.
fn sources(message: &RuleMessage) -> Option<IpNet> {
    let ours = RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
    if !message.attributes.contains(&ours) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| {
        if let RuleAttribute::Source(address) = attribute {
            Some(*address)
        } else {
            None
        }
    });
    IpNet::new(address?, message.header.src_len).ok()
}

fn message(sources: IpNet) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match sources.addr() {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.src_len = sources.prefix_len();
    message.header.table = INSIDE_TABLE;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(sources.addr()),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)),
    ];
    message
}

fn refusal(what: &'static str, sources: &IpNet, source: rtnetlink::Error) -> RouteError {
    RouteError::Rule {
        what,
        sources: sources.to_string(),
        source,
    }
}

fn is(error: &rtnetlink::Error, code: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(answer) if answer.raw_code() == -code)
}
