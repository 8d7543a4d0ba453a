//! What happens in a world, and when: all of it follows from the seed, and parts of it can be left out.

use std::{num::NonZeroU32, time::Duration};

use cluster_registry::service::{ClusterAffinity, Sharing};
use fastrand::Rng;
use mesh_gateway_core::pace::PaceLimit;

use crate::{
    pipe::Weather,
    scenery::{NODES, PODS, SERVICES},
};

/// A change of what a cluster has; services and so on by number.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Service(usize, Sharing),
    ServiceGone(usize),
    Endpoint(usize, usize),
    EndpointGone(usize, usize),
    /// All pods of a service are replaced.
    Rollout(usize),
    Node(usize),
    NodeGone(usize),
    /// A node says that its pods have the range of a node of another cluster.
    Squat(usize, usize),
    Tunnel(usize),
    TunnelGone(usize),
    /// The source lost its watch, and says everything anew, with this changed meanwhile.
    Resync(Box<Self>),
}

/// What part of a peer's word a link takes, or of ours the peer is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    All,
    /// One namespace.
    OneNamespace,
    /// All but the last node's range; of what is told, as one namespace.
    MostRanges,
}

/// What a gateway that starts anew remembers of its earlier life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Nothing,
    /// What its peers said, and how far they had come.
    Imports,
}

/// One thing that happens; connections are cut and lost between gateways, all else is of clusters if it does not say.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Change(usize, Change),
    /// Nothing arrives from the first at the second.
    CutOneWay(usize, usize),
    Cut(usize, usize),
    Heal(usize, usize),
    /// Nothing arrives at a gateway and nothing leaves it.
    Isolate(usize),
    HealAll,
    /// The connections between two gateways are lost, and both soon know.
    Reset(usize, usize),
    /// They are lost, and only the first gateway knows.
    Lose(usize, usize),
    /// A gateway says goodbye to its peers, or does not, and starts anew after a while.
    Restart {
        gateway: usize,
        is_graceful: bool,
        memory: Memory,
        down: Duration,
    },
    /// A gateway's process is not scheduled for a while.
    Pause(usize, Duration),
    /// A gateway's machine is suspended: its clock jumps.
    Jump(usize, Duration),
    Regrant(usize, usize, Extent),
    Reexport(usize, usize, Extent),
    /// A link takes no more than so many endpoints.
    Limit(usize, usize, usize),
    Unlink(usize, usize),
    Relink(usize, usize),
}

/// A world's fate.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) clusters: usize,
    /// Gateways of each cluster; that of number `n` is of cluster `n` modulo the clusters.
    pub(crate) replicas: usize,
    pub(crate) hold_time: Duration,
    pub(crate) weather: Weather,
    pub(crate) fetch_limit: usize,
    /// How fast peers are read, where that is limited.
    pub(crate) pace: Option<PaceLimit>,
    /// How late a gateway may hear of what its cluster has, where there are others that hear it earlier.
    pub(crate) lag: Duration,
    /// What happens, in order.
    pub(crate) happenings: Vec<(Duration, Happening)>,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Plan {
    /// The fate that a seed decides.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let clusters = *rng.choice(&[3, 3, 3, 3, 4, 4, 5, 8]).unwrap_or(&3);
        // Drawn apart, so that the fates of clusters of one gateway stay as they were.
        let apart = &mut Rng::with_seed(seed ^ 0x2e91);
        let replicas = *apart.choice(&[1, 1, 1, 2, 2, 3]).unwrap_or(&1);
        let pace = (apart.u8(0..4) == 0).then(|| PaceLimit {
            per_second: NonZeroU32::MIN.saturating_add(apart.u32(50..400)),
            burst: apart.u32(0..40),
        });
        let lags = [Duration::ZERO, ms(30), ms(500), ms(3000)];
        let lag = *apart.choice(&lags).unwrap_or(&Duration::ZERO);
        let mut plan = Self {
            clusters,
            replicas,
            hold_time: *rng
                .choice(&[ms(1500), ms(5000), ms(60_000)])
                .unwrap_or(&ms(5000)),
            weather: Weather {
                latency: ms(rng.u64(1..=60)),
                loss_percent: *rng.choice(&[0, 0, 1, 5, 20]).unwrap_or(&0),
            },
            fetch_limit: rng.usize(1..=12),
            pace,
            lag,
            happenings: Vec::new(),
        };
        for cluster in 0..clusters {
            plan.fill(cluster, rng);
        }
        let count = rng.usize(10..=50);
        let mut at = ms(rng.u64(0..2000));
        for _ in 0..count {
            at += match rng.u8(0..10) {
                0..5 => ms(rng.u64(0..30)),
                5..9 => ms(rng.u64(0..600)),
                _ => ms(rng.u64(0..4000)),
            };
            let happening = any_happening(clusters, replicas, rng);
            plan.happenings.push((at, happening));
        }
        plan
    }

    /// Two clusters that have something, between which nothing happens.
    pub(crate) fn pair() -> Self {
        let mut plan = Self {
            clusters: 2,
            replicas: 1,
            hold_time: ms(60_000),
            weather: Weather {
                latency: ms(20),
                loss_percent: 0,
            },
            fetch_limit: 4,
            pace: None,
            lag: Duration::ZERO,
            happenings: Vec::new(),
        };
        for cluster in 0..plan.clusters {
            plan.fill(cluster, &mut Rng::with_seed(1));
        }
        plan
    }

    /// What a cluster has from the start.
    fn fill(&mut self, cluster: usize, rng: &mut Rng) {
        let mut has = |change| {
            self.happenings
                .push((Duration::ZERO, Happening::Change(cluster, change)))
        };
        for node in 0..NODES {
            has(Change::Node(node));
            has(Change::Tunnel(node));
        }
        for service in 0..SERVICES {
            if rng.u8(0..4) > 0 {
                has(Change::Service(service, any_sharing(rng)));
            }
            if rng.u8(0..4) > 0 {
                has(Change::Rollout(service));
            }
        }
    }
}

/// A plan with which a world still fails, though nothing more can be left out of it.
pub(crate) fn shrunk(mut plan: Plan, fails: impl Fn(Plan) -> bool) -> Plan {
    if !fails(plan.clone()) {
        return plan;
    }
    let mut length = plan.happenings.len().div_ceil(2);
    while length > 0 {
        let mut start = 0;
        while start < plan.happenings.len() {
            let mut fewer = plan.clone();
            let end = (start + length).min(fewer.happenings.len());
            fewer.happenings.drain(start..end);
            match fails(fewer.clone()) {
                true => plan = fewer,
                false => start = end,
            }
        }
        length /= 2;
    }
    plan
}

fn any_sharing(rng: &mut Rng) -> Sharing {
    Sharing {
        global: rng.u8(0..6) > 0,
        shared: rng.u8(0..4) > 0,
        affinity: *rng
            .choice(&[ClusterAffinity::None, ClusterAffinity::Local])
            .unwrap_or(&ClusterAffinity::None),
    }
}

fn any_change(clusters: usize, rng: &mut Rng) -> Change {
    let (service, node) = (rng.usize(0..SERVICES), rng.usize(0..NODES));
    let pod = rng.usize(0..PODS * NODES);
    match rng.u8(0..20) {
        0..3 => Change::Service(service, any_sharing(rng)),
        3 => Change::ServiceGone(service),
        4..10 => Change::Endpoint(service, pod),
        10..13 => Change::EndpointGone(service, pod),
        13..15 => Change::Rollout(service),
        15 => match rng.u8(0..3) {
            0 => Change::Squat(node, rng.usize(0..clusters)),
            _ => Change::Node(node),
        },
        16 => Change::NodeGone(node),
        17 => Change::Tunnel(node),
        18 => Change::TunnelGone(node),
        _ => Change::Resync(Box::new(Change::Service(service, any_sharing(rng)))),
    }
}

fn any_happening(clusters: usize, replicas: usize, rng: &mut Rng) -> Happening {
    let one = rng.usize(0..clusters);
    let other = (one + rng.usize(1..clusters)) % clusters;
    let mut gateway_of = |cluster| match replicas {
        1 => cluster,
        _ => cluster + clusters * rng.usize(0..replicas),
    };
    let (one_gateway, other_gateway) = (gateway_of(one), gateway_of(other));
    let extent = *rng
        .choice(&[Extent::All, Extent::OneNamespace, Extent::MostRanges])
        .unwrap_or(&Extent::All);
    match rng.u8(0..60) {
        0..34 => Happening::Change(one, any_change(clusters, rng)),
        34..36 => Happening::CutOneWay(one_gateway, other_gateway),
        36..39 => Happening::Cut(one_gateway, other_gateway),
        39..42 => Happening::Heal(one_gateway, other_gateway),
        42 => Happening::Isolate(one_gateway),
        43..45 => Happening::HealAll,
        45..47 => Happening::Reset(one_gateway, other_gateway),
        47 => Happening::Lose(one_gateway, other_gateway),
        48..51 => Happening::Restart {
            gateway: one_gateway,
            is_graceful: rng.bool(),
            memory: if rng.bool() {
                Memory::Nothing
            } else {
                Memory::Imports
            },
            down: ms(*rng.choice(&[0, 20, 400, 3000]).unwrap_or(&0)),
        },
        51..53 => Happening::Pause(one_gateway, ms(rng.u64(50..1500))),
        53 => Happening::Jump(
            one_gateway,
            ms(*rng.choice(&[200, 2000, 20_000]).unwrap_or(&200)),
        ),
        54..56 => Happening::Regrant(one, other, extent),
        56 => Happening::Reexport(one, other, extent),
        57 => match rng.bool() {
            true => Happening::Unlink(one, other),
            false => Happening::Limit(one, other, rng.usize(0..20)),
        },
        _ => Happening::Relink(one, other),
    }
}
