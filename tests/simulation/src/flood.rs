//! What a peer that announces without end costs its gateway, and whether another peer notices.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use cluster_registry::{
    endpoint::Endpoint,
    link::{Limits, LinkSpec},
    resource::{Resource, ResourceId},
};
use mesh_gateway_core::{session::Channel, wire, wire::Body};

use crate::{
    scenery::{self, cluster_name},
    victim::{HOSTILE, Victim, update},
};

/// Announcements in one frame.
const IN_A_FRAME: u32 = 500;

/// What a flood came to.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Announcements.
    pub announced: u32,
    /// Endpoints of the peer that are held after it.
    pub held: usize,
    /// Announcements that were refused for want of room.
    pub refused: u64,
    /// The process's memory once the limit was reached, in KiB.
    pub full_kib: u64,
    /// Its memory at the end, in KiB.
    pub end_kib: u64,
    /// How long taking one update of another peer took at the longest, between frames of the flood.
    pub other_peer: Duration,
    /// How long the flood took.
    pub time: Duration,
    /// Whether the status would call the link degraded.
    pub is_degraded: bool,
}

/// Lets a peer announce so many endpoints, all of them different, while another one goes on.
pub fn flood(announced: u32, limits: Limits) -> Flood {
    let mut link = LinkSpec::new(cluster_name(HOSTILE));
    link.limits = limits;
    let mut victim = Victim::new(link);
    victim.end_snapshot();
    let began = Instant::now();
    let mut full_kib = None;
    let mut longest = Duration::ZERO;
    for first in (0..announced).step_by(usize::try_from(IN_A_FRAME).unwrap_or(1)) {
        let frame = first..(first + IN_A_FRAME).min(announced);
        let updates = frame.map(endpoint_update).collect();
        victim.say(
            Channel::Bulk,
            Body::Updates(wire::Updates { updates, batch: 0 }),
        );
        victim.refused.clear();
        let version = u16::try_from(first % 60_000).unwrap_or_default() + 1;
        let (id, value) =
            scenery::service(0, cluster_registry::service::Sharing::default(), version);
        let started = Instant::now();
        victim.honest_says(id, value);
        longest = longest.max(started.elapsed());
        let is_full = usize::try_from(first).unwrap_or_default() > limits.endpoints * 11 / 10;
        if full_kib.is_none() && is_full {
            full_kib = resident_kib();
        }
    }
    let summary = victim.gateway.registry.peer_summary(&cluster_name(HOSTILE));
    let summary = summary.unwrap_or_default();
    Flood {
        announced,
        held: summary.endpoints,
        refused: summary.refused.get("too_many").copied().unwrap_or_default(),
        full_kib: full_kib.unwrap_or_default(),
        end_kib: resident_kib().unwrap_or_default(),
        other_peer: longest,
        time: began.elapsed(),
        is_degraded: summary.over_limit.is_some() && victim.ended.is_none(),
    }
}

fn endpoint_update(number: u32) -> wire::Update {
    // 11.0.0.0/8 has room for all of them, and nobody else is there.
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + number));
    let id = ResourceId::Endpoint(scenery::service_name(1), address);
    update(HOSTILE, id, Some(Resource::from(Endpoint::ready([]))))
}

/// The memory of this process, where Linux tells it.
fn resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
