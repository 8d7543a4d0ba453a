//! Decides from answered and unanswered probes whether the path to each cluster is good.
//!
//! A few nodes of each cluster are probed at every tick, through the tunnels. A tick that finds no answer since the tick
//! before is a miss; so many misses in a row, on all probed nodes of a cluster, and its path is lost. Misses are counted at
//! ticks, not by the clock, so that an agent that was itself held up does not blame the path.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use cluster_registry::name::{ClusterName, NodeName};

use crate::{tunnel::NodeKey, verdict::Path};

/// How many nodes of a cluster are probed: one node's end must not look like the cluster's, and more cost packets.
pub const SAMPLE: usize = 3;

/// How many probes of a node may be awaited, beyond which the oldest counts as lost for good.
const MAX_AWAITED: usize = 16;

/// How often probes are sent and how many decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeConfig {
    /// The time between two probes of a node.
    pub interval: Duration,
    /// So many misses in a row lose a path, so many answered ticks in a row bring it back.
    pub multiplier: u32,
}

/// What the caller must now do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a probe that carries the number.
    SendProbe {
        /// Where to.
        to: SocketAddr,
        /// The number that its answer must carry.
        sequence: u64,
    },
    /// The path to a cluster is another than before.
    PathChanged {
        /// The cluster.
        cluster: ClusterName,
        /// Its path.
        path: Path,
        /// The round-trip time of the last answer, if there was one.
        rtt: Option<Duration>,
    },
}

/// The prober of one node.
///
/// ```text
///             first answer               multiplier misses, none answered
///   Pending ───────────────► Good ──────────────────────────────────────► Lost
///      └── multiplier misses ──────────────────────────────────────────────▲│
///                              ▲──────── multiplier answered ticks in a row ┘
/// ```
///
/// [`Self::handle_targets`] may produce `PathChanged`; [`Self::handle_answer`] `PathChanged`; [`Self::handle_timeout`] both.
/// Take the answers that wait in the socket before calling [`Self::handle_timeout`], and drain [`Self::poll_output`] after
/// each call.
#[derive(Debug)]
pub struct Prober {
    config: ProbeConfig,
    /// The own name, so that nodes of one cluster do not all probe the same three.
    node: NodeName,
    targets: BTreeMap<NodeKey, Target>,
    paths: BTreeMap<ClusterName, Path>,
    sequence: u64,
    next_tick: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Prober {
    /// A prober without targets.
    pub fn new(config: ProbeConfig, node: NodeName) -> Self {
        Self {
            config,
            node,
            targets: BTreeMap::new(),
            paths: BTreeMap::new(),
            sequence: 0,
            next_tick: None,
            outputs: VecDeque::new(),
        }
    }

    /// All nodes that can be probed have become known; each cluster's sample is taken from them.
    pub fn handle_targets(&mut self, reachable: &BTreeMap<NodeKey, SocketAddr>, now: Instant) {
        let sample = self.sample(reachable);
        self.targets.retain(|key, target| {
            sample
                .get(key)
                .is_some_and(|address| *address == target.address)
        });
        for (key, address) in sample {
            self.targets
                .entry(key)
                .or_insert_with(|| Target::new(address));
        }
        self.next_tick = match self.next_tick {
            _ if self.targets.is_empty() => None,
            None => Some(now),
            Some(at) => Some(at),
        };
        self.judge_all();
    }

    /// An answer with a number that [`Output::SendProbe`] carried has come from an address.
    pub fn handle_answer(&mut self, from: SocketAddr, sequence: u64, now: Instant) {
        let answered = self
            .targets
            .iter_mut()
            .find(|(_, target)| target.address == from)
            .filter(|(_, target)| target.awaits(sequence));
        let Some((key, target)) = answered else {
            return;
        };
        target.answer(sequence, now);
        let cluster = key.0.clone();
        self.judge(&cluster);
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_tick.is_none_or(|at| now < at) {
            return;
        }
        for target in self.targets.values_mut() {
            target.tick(&self.config);
            self.sequence += 1;
            target.sent(self.sequence, now);
            self.outputs.push_back(Output::SendProbe {
                to: target.address,
                sequence: self.sequence,
            });
        }
        // From now, not from the planned time: ticks that were slept through are not made up for.
        self.next_tick = Some(now + self.config.interval);
        self.judge_all();
    }

    /// When [`Self::handle_timeout`] must next be called; `None` while there is nothing to probe.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The shortest of the last round-trip times to a cluster's probed nodes.
    pub fn rtt(&self, cluster: &ClusterName) -> Option<Duration> {
        self.of(cluster).filter_map(|target| target.rtt).min()
    }

    /// How many of a thousand probes of a cluster were lost, of the last 64 of each probed node; `None` before the first is
    /// answered or given up, which it is when 16 more were sent.
    pub fn loss_per_mille(&self, cluster: &ClusterName) -> Option<u16> {
        let (lost, settled) = self.of(cluster).fold((0, 0), |(lost, settled), target| {
            (
                lost + target.history.lost(),
                settled + target.history.settled,
            )
        });
        u16::try_from((lost * 1000).checked_div(settled)?).ok()
    }

    /// The nodes that are probed.
    pub fn targets(&self) -> impl Iterator<Item = &NodeKey> {
        self.targets.keys()
    }

    /// Rendezvous hashing: a node that comes or goes changes the sample by itself at most.
    fn sample(&self, reachable: &BTreeMap<NodeKey, SocketAddr>) -> BTreeMap<NodeKey, SocketAddr> {
        let mut ranked: BTreeMap<&ClusterName, BTreeSet<(u64, &NodeKey)>> = BTreeMap::new();
        for key in reachable.keys() {
            let nodes = ranked.entry(&key.0).or_default();
            nodes.insert((rank(&self.node, key), key));
            if nodes.len() > SAMPLE {
                nodes.pop_first();
            }
        }
        let chosen = ranked.into_values().flatten().map(|(_, key)| key);
        chosen
            .filter_map(|key| Some((key.clone(), *reachable.get(key)?)))
            .collect()
    }

    fn judge_all(&mut self) {
        let clusters: BTreeSet<ClusterName> = self
            .targets
            .keys()
            .map(|(cluster, _)| cluster.clone())
            .chain(self.paths.keys().cloned())
            .collect();
        for cluster in &clusters {
            self.judge(cluster);
        }
    }

    fn judge(&mut self, cluster: &ClusterName) {
        let before = self.paths.get(cluster).copied().unwrap_or(Path::Unprobed);
        let path = joined(self.of(cluster).map(|target| target.path), before);
        if path == before {
            return;
        }
        if path == Path::Unprobed {
            self.paths.remove(cluster);
        } else {
            self.paths.insert(cluster.clone(), path);
        }
        let rtt = self.rtt(cluster);
        self.outputs.push_back(Output::PathChanged {
            cluster: cluster.clone(),
            path,
            rtt,
        });
    }

    fn of<'a>(&'a self, cluster: &'a ClusterName) -> impl Iterator<Item = &'a Target> {
        self.targets
            .iter()
            .filter(move |((of, _), _)| of == cluster)
            .map(|(_, target)| target)
    }
}

/// One probed node.
#[derive(Debug)]
struct Target {
    address: SocketAddr,
    path: Path,
    awaited: VecDeque<(u64, Instant)>,
    was_answered: bool,
    misses: u32,
    answered_ticks: u32,
    rtt: Option<Duration>,
    history: History,
}

/// What became of the latest probes: a bit each, the latest lowest.
#[derive(Debug, Default)]
struct History {
    lost: u64,
    settled: u32,
}

impl History {
    fn note(&mut self, is_lost: bool) {
        self.lost = self.lost << 1 | u64::from(is_lost);
        self.settled = (self.settled + 1).min(u64::BITS);
    }

    fn lost(&self) -> u32 {
        self.lost.count_ones()
    }
}

impl Target {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            path: Path::Pending,
            awaited: VecDeque::new(),
            // Nothing was asked before the first tick, so nothing is missed at it.
            was_answered: true,
            misses: 0,
            answered_ticks: 0,
            rtt: None,
            history: History::default(),
        }
    }

    fn awaits(&self, sequence: u64) -> bool {
        self.awaited.iter().any(|(number, _)| *number == sequence)
    }

    fn sent(&mut self, sequence: u64, now: Instant) {
        if self.awaited.len() == MAX_AWAITED && self.awaited.pop_front().is_some() {
            self.history.note(true);
        }
        self.awaited.push_back((sequence, now));
    }

    fn answer(&mut self, sequence: u64, now: Instant) {
        if let Some((_, at)) = self.awaited.iter().find(|(number, _)| *number == sequence) {
            self.rtt = Some(now.saturating_duration_since(*at));
            self.history.note(false);
        }
        // Each number is good for one answer.
        self.awaited.retain(|(number, _)| *number != sequence);
        self.was_answered = true;
        if self.path == Path::Pending {
            self.path = Path::Good;
        }
    }

    fn tick(&mut self, config: &ProbeConfig) {
        if std::mem::take(&mut self.was_answered) {
            self.misses = 0;
            self.answered_ticks = self.answered_ticks.saturating_add(1);
        } else {
            self.misses = self.misses.saturating_add(1);
            self.answered_ticks = 0;
        }
        match self.path {
            Path::Pending | Path::Good if self.misses >= config.multiplier => {
                self.path = Path::Lost;
            }
            Path::Lost if self.answered_ticks >= config.multiplier => self.path = Path::Good,
            Path::Unprobed | Path::Pending | Path::Good | Path::Lost => {}
        }
    }
}

/// One good node makes a good path; while some are undecided and none is good, the path stays what it was.
fn joined(paths: impl Iterator<Item = Path>, before: Path) -> Path {
    let paths: BTreeSet<Path> = paths.collect();
    if paths.contains(&Path::Good) {
        return Path::Good;
    }
    if !paths.contains(&Path::Pending) {
        return match paths.contains(&Path::Lost) {
            true => Path::Lost,
            false => Path::Unprobed,
        };
    }
    match before {
        Path::Unprobed => Path::Pending,
        Path::Pending | Path::Good | Path::Lost => before,
    }
}

/// The rank of a node for this one: FNV-1a over the names, finished so that all bits count.
fn rank(own: &NodeName, key: &NodeKey) -> u64 {
    let names = [own.as_str(), key.0.as_str(), key.1.as_str()];
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in names.iter().flat_map(|name| name.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
