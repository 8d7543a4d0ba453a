//! The world: gateways, the connections between them and the time, and what happens next.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use cluster_registry::{
    import::Namespaces,
    link::LinkSpec,
    name::ClusterName,
    resource::{Resource, ResourceId},
    store::Epoch,
};
use fastrand::Rng;
use ipnet::IpNet;

use crate::{
    clock::Clock,
    connection::Connection,
    gateway::Gateway,
    history::{History, Readings},
    plan::{Happening, Plan},
    scenery::cluster_name,
    truth::{Offer, Picture},
};

mod arrivals;
mod fate;
mod links;
mod orders;
mod restart;
mod sessions;
mod source;
mod time;
mod watch;

/// How long whole networks may take until all know everything: more than the longest backoff, a handshake that is given
/// up, the opening time and the snapshots take together.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the views are looked at.
const STEP: Duration = Duration::from_millis(50);

/// How long they must stay right.
const CALM: Duration = Duration::from_secs(1);

/// How many of the newest events are shown.
const TRAIL: usize = 200;

/// What was counted in a world.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Clusters.
    pub clusters: u64,
    /// Simulated time.
    pub time: Duration,
    /// Things that happened by the plan.
    pub happenings: u64,
    /// Sessions that came up at both ends or one.
    pub sessions: u64,
    /// Of those, sessions that continued what was known.
    pub resumed: u64,
    /// Updates that registries took.
    pub updates: u64,
    /// Updates that links' grants refused.
    pub refused: u64,
    /// Peers whose state was dropped after the hold time.
    pub expired: u64,
    /// How long the world took, once whole, until all knew everything.
    pub settled_after: Duration,
}

impl std::ops::AddAssign for Stats {
    /// Adds all but how long it took until all knew everything, of which the longest counts.
    fn add_assign(&mut self, other: Self) {
        self.clusters += other.clusters;
        self.time += other.time;
        self.happenings += other.happenings;
        self.sessions += other.sessions;
        self.resumed += other.resumed;
        self.updates += other.updates;
        self.refused += other.refused;
        self.expired += other.expired;
        self.settled_after = self.settled_after.max(other.settled_after);
    }
}

/// What went wrong, and when.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The time of the world.
    pub at: Duration,
    /// What.
    pub what: String,
    /// What happened before, newest last, if it was asked for.
    pub trail: Vec<String>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) now: Duration,
    rng: Rng,
    plan: Plan,
    pub(crate) gateways: Vec<Gateway>,
    /// What each cluster has.
    pub(crate) offers: Vec<Offer>,
    /// What each cluster showed.
    histories: Vec<History>,
    /// What each gateway was told.
    readings: Vec<Readings>,
    /// Which gateway of a cluster tells a gateway.
    tellers: BTreeMap<(usize, ClusterName), usize>,
    /// The objects and the tunnel ends that each gateway has heard of, and what it will hear of.
    objects: Vec<BTreeMap<ResourceId, Resource>>,
    tunnels: Vec<BTreeMap<ResourceId, Resource>>,
    words: Vec<VecDeque<source::Word>>,
    /// What each feed shows, with the gateway that publishes it and the cluster that reads it.
    scopes: BTreeMap<Epoch, (usize, ClusterName, Namespaces)>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    /// The ways that are cut, from one gateway to another.
    blocked: BTreeSet<(usize, usize)>,
    /// When the gateways that are down start again, and when agents announce their tunnel ends again.
    starts: BTreeMap<usize, (Duration, restart::Remains)>,
    announces: BTreeMap<usize, Duration>,
    /// The ranges that nodes of other clusters than their own have ever laid claim to.
    disputed: BTreeSet<IpNet>,
    /// Since when gateways have no session with their peers, by their own clocks.
    lost_since: BTreeMap<(usize, ClusterName), Instant>,
    /// When the world is looked at next.
    look_at: Duration,
    next_number: u64,
    version: u16,
    pub(crate) stats: Stats,
    /// Pieces of streams that have arrived.
    pub(crate) chunks: u64,
    failure: Option<String>,
    /// The newest of what happened, when that is to be shown.
    trail: Option<VecDeque<String>>,
}

impl World {
    /// A world in which nothing has happened.
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let base = Instant::now();
        // The plan is drawn from the seed too, and may be changed without changing this.
        let mut rng = Rng::with_seed(seed ^ 0x5eed);
        let mut world = Self {
            now: Duration::ZERO,
            gateways: Vec::new(),
            offers: Vec::new(),
            histories: Vec::new(),
            readings: Vec::new(),
            tellers: BTreeMap::new(),
            objects: Vec::new(),
            tunnels: Vec::new(),
            words: Vec::new(),
            scopes: BTreeMap::new(),
            connections: BTreeMap::new(),
            blocked: BTreeSet::new(),
            starts: BTreeMap::new(),
            announces: BTreeMap::new(),
            disputed: BTreeSet::new(),
            lost_since: BTreeMap::new(),
            look_at: Duration::ZERO,
            next_number: 1,
            version: 1,
            stats: Stats::default(),
            chunks: 0,
            failure: None,
            trail: None,
            rng: rng.fork(),
            plan,
        };
        world.stats.clusters = world.plan.clusters as u64;
        for number in 0..world.plan.clusters * world.plan.replicas {
            let life = world.number();
            let clock = Clock::new(base, rng.u32(970_000..=1_030_000));
            let place = (
                cluster_name(world.cluster_of(number)),
                number / world.plan.clusters,
            );
            let gateway = Gateway::new(place, life, clock, world.plan.hold_time);
            world.gateways.push(gateway);
            world.readings.push(Readings::new());
            world.objects.push(BTreeMap::new());
            world.tunnels.push(BTreeMap::new());
            world.words.push(VecDeque::new());
        }
        for number in 0..world.plan.clusters {
            world.offers.push(Offer::new(cluster_name(number)));
            world.histories.push(History::default());
        }
        for one in 0..world.plan.clusters {
            for other in (0..world.plan.clusters).filter(|other| *other != one) {
                world.link(one, LinkSpec::new(cluster_name(other)));
            }
        }
        world
    }

    /// Lets the whole plan happen, makes the world whole, and waits until all know everything.
    pub(crate) fn run(mut self) -> Result<Stats, Failure> {
        let happenings = std::mem::take(&mut self.plan.happenings);
        for (at, happening) in happenings {
            self.run_until(at)?;
            self.stats.happenings += 1;
            self.happen(happening);
        }
        self.make_whole();
        self.settle()?;
        Ok(self.stats)
    }

    /// Runs until all gateways know everything, which must not take long.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        let whole_at = self.now;
        let mut right_since = None;
        loop {
            self.run_until(self.now + STEP)?;
            match (self.difference(), right_since) {
                (None, None) => right_since = Some(self.now),
                // What is right must stay so.
                (None, Some(since)) if self.now - since >= CALM => break,
                (None, Some(_)) => {}
                (Some(what), _) if self.now - whole_at > PATIENCE => return Err(self.failed(what)),
                (Some(_), _) => right_since = None,
            }
        }
        self.stats.settled_after = right_since.unwrap_or(self.now) - whole_at;
        self.stats.time = self.now;
        Ok(())
    }

    /// Runs until a time.
    pub(crate) fn run_until(&mut self, end: Duration) -> Result<(), Failure> {
        while let Some(next) = self.next_time().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.advance();
            self.check()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    /// Runs until a number of pieces of streams have arrived.
    pub(crate) fn run_until_chunks(&mut self, chunks: u64) -> Result<(), Failure> {
        while self.chunks < chunks {
            let Some(next) = self.next_time() else {
                return Err(self.failed("nothing happens any more".to_owned()));
            };
            self.now = self.now.max(next);
            self.advance();
            self.check()?;
        }
        Ok(())
    }

    /// Lets something happen now.
    pub(crate) fn happen(&mut self, happening: Happening) {
        self.apply(happening);
    }

    /// Keeps the newest of what happens, to be shown with a failure.
    pub(crate) fn keep_trail(&mut self) {
        self.trail = Some(VecDeque::new());
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trail) = &mut self.trail {
            if trail.len() == TRAIL {
                trail.pop_front();
            }
            trail.push_back(format!("{now:?} {}", what()));
        }
    }

    fn check(&mut self) -> Result<(), Failure> {
        match self.failure.take() {
            Some(what) => Err(self.failed(what)),
            None => Ok(()),
        }
    }

    fn failed(&self, what: String) -> Failure {
        Failure {
            at: self.now,
            what,
            trail: self.trail.iter().flatten().cloned().collect(),
        }
    }

    /// In what the gateways' views differ from what they must be.
    fn difference(&mut self) -> Option<String> {
        for gateway in &mut self.gateways {
            if !gateway.is_running {
                return Some(format!("{} is not running", gateway.cluster));
            }
            let picture = Picture::of_view(&gateway.registry.view());
            let expected = Picture::expected(&self.offers, &gateway.cluster);
            if let Some(difference) = picture.difference(&expected) {
                return Some(format!("the view of {}:\n{difference}", gateway.cluster));
            }
        }
        None
    }

    /// A number that nothing else has.
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The cluster that a gateway is of.
    fn cluster_of(&self, gateway: usize) -> usize {
        gateway % self.plan.clusters
    }

    /// The gateways of a cluster.
    fn gateways_of(&self, cluster: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (clusters, replicas) = (self.plan.clusters, self.plan.replicas);
        (0..replicas).map(move |replica| cluster + clusters * replica)
    }

    fn clock(&self, gateway: usize) -> Instant {
        self.gateways[gateway].clock.at(self.now)
    }
}
