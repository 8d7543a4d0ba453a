//! The routes to other clusters' pods: one through the tunnel, and behind it one that refuses.
//!
//! The refusing one is taken while the device is away, so that packets to remote pods never follow the default route in
//! clear. Ours are known by their protocol number: whoever made them, and only they, are kept or swept.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
        },
    },
};

/// The protocol number of our routes: 'I'; `/etc/iproute2/rt_protos` gives it to nobody.
const ROUTE_PROTOCOL: u8 = 73;

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
    prefix: IpNet,
    metric: u32,
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
    listed: Instant,
}

impl Routes {
    /// Makes our routes exactly those that the prefixes need; without a device, refusing ones only.
    pub(super) async fn sync(
        &mut self,
        netlink: &Handle,
        device: Option<u32>,
        prefixes: &BTreeSet<IpNet>,
    ) -> Result<RouteChanges, RouteError> {
        let wanted = wanted_routes(device, prefixes);
        let known = self.known.take();
        let listed = match known.filter(|known| known.listed.elapsed() < LISTED_FOR) {
            Some(known) => known,
            None => Known {
                routes: list(netlink).await?,
                listed: Instant::now(),
            },
        };
        let changes = change(netlink, &listed.routes, &wanted).await?;
        // Only now is it known that the kernel has them; after an error it is asked.
        self.known = Some(Known {
            routes: wanted,
            ..listed
        });
        Ok(changes)
    }
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

fn wanted_routes(device: Option<u32>, prefixes: &BTreeSet<IpNet>) -> BTreeSet<Route> {
    prefixes
        .iter()
        .map(IpNet::trunc)
        .flat_map(|prefix| {
            let through = device.map(|index| Route {
                kind: Kind::Device(index),
                prefix,
                metric: DEVICE_METRIC,
            });
            let refuse = Route {
                kind: Kind::Refuse,
                prefix,
                metric: REFUSE_METRIC,
            };
            through.into_iter().chain([refuse])
        })
        .collect()
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
        && header.table == RouteHeader::RT_TABLE_MAIN;
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
