//! The routes to remote pods: one through the tunnel, and behind it one that refuses.
//!
//! The refusing one is taken while the device is away, so that packets to remote pods never follow the default route in
//! clear. Ours are known by their protocol number: whoever made them, and only they, are kept or swept. Those to the own
//! cluster's pods stand in a table of their own, which rules lead to, as the network plugin's routes to the same pods are in
//! the main one.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use node_dp_core::tunnel::inside::InsidePlan;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
        },
    },
};

use super::rules;

/// The protocol number of our routes: 'I'; `/etc/iproute2/rt_protos` gives it to nobody.
pub(super) const ROUTE_PROTOCOL: u8 = 73;

/// The table of the routes to the own cluster's pods: the same number, for who looks for what is ours.
pub(super) const INSIDE_TABLE: u8 = 73;

/// The metric of routes through the device.
const DEVICE_METRIC: u32 = 100;

/// The metric of the refusing routes: worse than what administrators and network managers commonly use.
const REFUSE_METRIC: u32 = 100_000;

/// How long what was listed counts; listing many routes takes longer than changing one.
const LISTED_FOR: Duration = Duration::from_secs(60);

/// What a sync changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteChanges {
    /// Routes that were missing.
    pub added: usize,
    /// Routes of ours that nobody wants any more.
    pub removed: usize,
}

/// Why the routes are not all as wanted.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The kernel did not list its routes.
    #[error("cannot list the routes")]
    List(#[source] rtnetlink::Error),
    /// The kernel did not list, take or remove a rule.
    #[error("cannot {what} a rule for what comes from {sources}")]
    Rule {
        /// What was tried.
        what: &'static str,
        /// The range, or "anywhere".
        sources: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// The kernel did not take a route.
    #[error("cannot add a route to {prefix}")]
    Add {
        /// Where to.
        prefix: IpNet,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// The kernel did not remove a route.
    #[error("cannot remove the route to {prefix}")]
    Remove {
        /// Where to.
        prefix: IpNet,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
}

/// A route of ours; the order puts refusing ones first, so that they stand before traffic may need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    kind: Kind,
    table: u8,
    prefix: IpNet,
    metric: u32,
}

/// What routes are wanted for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The tunnel device, if it is there.
    pub(super) device: Option<u32>,
    /// What leads to other clusters.
    pub(super) between: &'a BTreeSet<IpNet>,
    /// What must lead to no other place, whether any tunnel leads there or not.
    pub(super) only: &'a BTreeSet<IpNet>,
    /// What leads through tunnels within the own cluster.
    pub(super) inside: &'a InsidePlan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Refuse,
    Device(u32),
}

/// Our routes, with the memory of what the kernel has.
#[derive(Debug, Default)]
pub(super) struct Routes {
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    routes: BTreeSet<Route>,
    /// The ranges whose packets rules lead to the table of the own cluster's pods.
    rules: BTreeSet<IpNet>,
    listed: Instant,
}

impl Routes {
    /// Makes our routes and rules exactly those that are wanted; without a device, refusing routes only.
    pub(super) async fn sync(
        &mut self,
        netlink: &Handle,
        wanted: &Wanted<'_>,
    ) -> Result<RouteChanges, RouteError> {
        let routes = wanted_routes(wanted);
        let known = self.known.take();
        let listed = match known.filter(|known| known.listed.elapsed() < LISTED_FOR) {
            Some(known) => known,
            None => Known {
                routes: list(netlink).await?,
                rules: rules::list(netlink).await?,
                listed: Instant::now(),
            },
        };
        let changes = change(netlink, &listed.routes, &routes).await;
        // Before their routes stand, what rules lead to is an empty table.
        rules::change(netlink, &listed.rules, &wanted.inside.sources).await?;
        let changes = changes?;
        // Only now is it known that the kernel has them; after an error it is asked.
        self.known = Some(Known {
            routes,
            rules: wanted.inside.sources.clone(),
            ..listed
        });
        Ok(changes)
    }
}

/// Adds the refusing routes that are missing, and the rules that lead to them; what else there is stays as it is.
pub(super) async fn guard(netlink: &Handle, wanted: &Wanted<'_>) -> Result<(), RouteError> {
    let found = list(netlink).await?;
    let refusing = Wanted {
        device: None,
        ..*wanted
    };
    let mut all = found.clone();
    all.extend(wanted_routes(&refusing));
    let added = change(netlink, &found, &all).await;
    let rules = rules::list(netlink).await?;
    let all = rules.union(&wanted.inside.sources).copied().collect();
    rules::change(netlink, &rules, &all).await?;
    added.map(drop)
}

async fn change(
    netlink: &Handle,
    found: &BTreeSet<Route>,
    wanted: &BTreeSet<Route>,
) -> Result<RouteChanges, RouteError> {
    let mut changes = RouteChanges::default();
    let mut first_error = None;
    for route in wanted.difference(found) {
        match netlink.route().add(message(route)).execute().await {
            Ok(()) => changes.added += 1,
            Err(source) => {
                let prefix = route.prefix;
                first_error.get_or_insert(RouteError::Add { prefix, source });
            }
        }
    }
    // Those through the device go before what stands behind them.
    for route in found.iter().rev().filter(|route| !wanted.contains(route)) {
        match netlink.route().del(message(route)).execute().await {
            Ok(()) => changes.removed += 1,
            Err(error) if is_gone(&error) => {}
            Err(source) => {
                let prefix = route.prefix;
                first_error.get_or_insert(RouteError::Remove { prefix, source });
            }
        }
    }
    first_error.map_or(Ok(changes), Err)
}

fn wanted_routes(wanted: &Wanted<'_>) -> BTreeSet<Route> {
    let through = |table, prefix: &IpNet| {
        wanted.device.map(|index| Route {
            kind: Kind::Device(index),
            table,
            prefix: prefix.trunc(),
            metric: DEVICE_METRIC,
        })
    };
    let refused = |table, prefix: &IpNet| Route {
        kind: Kind::Refuse,
        table,
        prefix: prefix.trunc(),
        metric: REFUSE_METRIC,
    };
    let main = RouteHeader::RT_TABLE_MAIN;
    let Wanted {
        between,
        only,
        inside,
        ..
    } = wanted;
    let mut routes = BTreeSet::new();
    routes.extend(between.iter().filter_map(|prefix| through(main, prefix)));
    routes.extend(between.union(only).map(|prefix| refused(main, prefix)));
    let inner = inside.through.iter();
    routes.extend(inner.filter_map(|prefix| through(INSIDE_TABLE, prefix)));
    let guarded = inside.guarded.union(&inside.through);
    routes.extend(guarded.map(|prefix| refused(INSIDE_TABLE, prefix)));
    routes
}

/// The routes of ours that the kernel has.
async fn list(netlink: &Handle) -> Result<BTreeSet<Route>, RouteError> {
    let mut routes = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut filter = RouteMessage::default();
        filter.header.address_family = family;
        let found: Vec<RouteMessage> = netlink
            .route()
            .get(filter)
            .execute()
            .try_collect()
            .await
            .map_err(RouteError::List)?;
        routes.extend(found.iter().filter_map(route));
    }
    Ok(routes)
}

/// The route that a message is about, if it is one of ours.
fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let is_ours = header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
        && [RouteHeader::RT_TABLE_MAIN, INSIDE_TABLE].contains(&header.table);
    if !is_ours {
        return None;
    }
    let mut destination = unspecified(header.address_family)?;
    let mut metric = 0;
    let mut device = 0;
    for attribute in &message.attributes {
        if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
            destination = (*address).into();
        } else if let RouteAttribute::Destination(RouteAddress::Inet6(address)) = attribute {
            destination = (*address).into();
        } else if let RouteAttribute::Priority(found) = attribute {
            metric = *found;
        } else if let RouteAttribute::Oif(found) = attribute {
            device = *found;
        }
    }
    Some(Route {
        kind: if header.kind == RouteType::Unreachable {
            Kind::Refuse
        } else {
            Kind::Device(device)
        },
        table: header.table,
        prefix: IpNet::new(destination, header.destination_prefix_length).ok()?,
        metric,
    })
}

fn unspecified(family: AddressFamily) -> Option<IpAddr> {
    if family == AddressFamily::Inet {
        Some(Ipv4Addr::UNSPECIFIED.into())
    } else if family == AddressFamily::Inet6 {
        Some(std::net::Ipv6Addr::UNSPECIFIED.into())
    } else {
        None
    }
}

fn message(route: &Route) -> RouteMessage {
    let builder = match route.prefix {
        IpNet::V4(prefix) => RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.addr().into(), prefix.prefix_len()),
        IpNet::V6(prefix) => RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.addr().into(), prefix.prefix_len()),
    };
    let builder = builder
        .expect("a prefix is no longer than its address")
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
        .table_id(u32::from(route.table))
        .priority(route.metric);
    match route.kind {
        Kind::Refuse => builder.kind(RouteType::Unreachable).build(),
        Kind::Device(index) => builder.output_interface(index).build(),
    }
}

/// Whether a route is gone without our doing, as those through a device go with it.
fn is_gone(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(answer) if answer.raw_code() == -libc::ESRCH)
}
