//! Tests of probing against a simulated network and clock.

use super::*;

#[test]
fn the_first_answer_makes_a_path_good() {
    let mut world = World::new(&["w1"]);

    world.tick(Answer::All);

    assert_eq!(world.changes, [(0, Path::Pending), (0, Path::Good)]);
}

#[test]
fn three_misses_in_a_row_lose_a_path_within_four_intervals_of_the_cut() {
    let mut world = World::new(&["w1"]);
    world.ticks(10, Answer::All);
    world.changes.clear();

    world.ticks(10, Answer::None);

    // The tick at which the cut falls was answered; the three after it miss.
    assert_eq!(world.changes, [(13, Path::Lost)]);
}

#[test]
fn two_misses_then_an_answer_keep_a_path() {
    let mut world = World::new(&["w1"]);
    world.ticks(5, Answer::All);
    world.changes.clear();

    for _ in 0..20 {
        world.ticks(2, Answer::None);
        world.tick(Answer::All);
    }

    assert_eq!(world.changes, []);
}

#[test]
fn a_lost_path_is_back_after_three_answered_ticks_in_a_row() {
    let mut world = World::new(&["w1"]);
    world.ticks(5, Answer::None);
    world.changes.clear();

    world.ticks(2, Answer::All);
    world.tick(Answer::None);
    assert_eq!(world.changes, []);
    world.ticks(4, Answer::All);

    assert_eq!(world.changes.len(), 1);
    assert_eq!(world.changes[0].1, Path::Good);
}

#[test]
fn one_good_node_of_three_keeps_the_path() {
    let mut world = World::new(&["w1", "w2", "w3"]);
    world.ticks(5, Answer::All);
    world.changes.clear();

    world.ticks(20, Answer::Only("w2"));

    assert_eq!(world.changes, []);
}

#[test]
fn an_agent_that_was_held_up_does_not_blame_the_path() {
    let mut world = World::new(&["w1"]);
    world.ticks(5, Answer::All);
    world.changes.clear();

    world.now += INTERVAL * 50;
    world.ticks(5, Answer::All);

    assert_eq!(world.changes, []);
}

#[test]
fn an_answer_that_takes_longer_than_the_interval_still_counts() {
    let mut world = World::new(&["w1"]);
    let mut awaited = VecDeque::new();
    for _ in 0..20 {
        world.prober.handle_timeout(world.now);
        awaited.extend(world.drain());
        if awaited.len() > 2 {
            let (to, sequence) = awaited.pop_front().unwrap();
            world.prober.handle_answer(to, sequence, world.now);
            world.drain();
        }
        world.now += INTERVAL;
    }

    let (_, last) = world.changes.last().unwrap();
    assert_eq!(*last, Path::Good);
    assert_eq!(world.prober.rtt(&west()), Some(INTERVAL * 2));
}

#[test]
fn answers_from_elsewhere_or_with_unknown_or_used_numbers_do_not_count() {
    let mut world = World::new(&["w1"]);
    world.prober.handle_timeout(world.now);
    let sent = world.drain();
    let (to, sequence) = sent[0];
    world.changes.clear();

    world.prober.handle_answer(address(99), sequence, world.now);
    world.prober.handle_answer(to, sequence + 1, world.now);
    world.drain();
    assert_eq!(world.changes, []);

    world.prober.handle_answer(to, sequence, world.now);
    for _ in 0..10 {
        world.now += INTERVAL;
        world.prober.handle_timeout(world.now);
        world.prober.handle_answer(to, sequence, world.now);
        world.drain();
    }
    assert_eq!(world.changes.last().unwrap().1, Path::Lost);
}

#[test]
fn at_most_three_nodes_of_a_cluster_are_probed_and_the_choice_is_stable() {
    let mut prober = Prober::new(CONFIG, name("e1"));
    let now = Instant::now();
    let names: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    let mut reachable = targets(&names.iter().map(String::as_str).collect::<Vec<_>>());

    prober.handle_targets(&reachable, now);
    let before: Vec<NodeKey> = prober.targets().cloned().collect();
    reachable.remove(&before[0]);
    prober.handle_targets(&reachable, now);
    let after: Vec<NodeKey> = prober.targets().cloned().collect();

    assert_eq!(before.len(), SAMPLE);
    assert_eq!(after.len(), SAMPLE);
    assert!(before[1..].iter().all(|key| after.contains(key)));
}

#[test]
fn a_replaced_node_does_not_make_a_good_path_uncertain() {
    let mut world = World::new(&["w1"]);
    world.ticks(3, Answer::All);
    world.changes.clear();

    world.prober.handle_targets(&targets(&["w2"]), world.now);
    world.drain();

    assert_eq!(world.changes, []);
    world.ticks(5, Answer::None);
    assert_eq!(world.changes.last().unwrap().1, Path::Lost);
}

#[test]
fn without_targets_nothing_is_sent_and_the_path_is_unprobed() {
    let mut world = World::new(&["w1"]);
    world.ticks(3, Answer::All);

    world.prober.handle_targets(&BTreeMap::new(), world.now);
    world.drain();

    assert_eq!(world.changes.last().unwrap().1, Path::Unprobed);
    assert_eq!(world.prober.poll_timeout(), None);
}

#[test]
fn loss_is_the_share_of_the_latest_probes_that_nobody_answered() {
    let mut world = World::new(&["w1"]);
    assert_eq!(world.prober.loss_per_mille(&west()), None);

    world.ticks(100, Answer::All);
    assert_eq!(world.prober.loss_per_mille(&west()), Some(0));
    for _ in 0..200 {
        world.tick(Answer::None);
        world.ticks(3, Answer::All);
    }
    let loss = world.prober.loss_per_mille(&west()).unwrap();
    assert!(
        (235..=265).contains(&loss),
        "{loss} of 1000, and a quarter was lost"
    );

    world.ticks(200, Answer::None);
    assert_eq!(world.prober.loss_per_mille(&west()), Some(1000));
    world.ticks(200, Answer::All);
    assert_eq!(world.prober.loss_per_mille(&west()), Some(0));
}

#[test]
fn an_answer_that_takes_long_is_no_loss() {
    let mut world = World::new(&["w1"]);
    let mut awaited = VecDeque::new();
    for _ in 0..200 {
        world.prober.handle_timeout(world.now);
        awaited.extend(world.drain());
        if awaited.len() > 10 {
            let (to, sequence) = awaited.pop_front().unwrap();
            world.prober.handle_answer(to, sequence, world.now);
        }
        world.now += INTERVAL;
    }

    assert_eq!(world.prober.loss_per_mille(&west()), Some(0));
}

#[test]
fn a_thousand_remote_nodes_cost_as_many_probes_as_three_of_each_cluster() {
    let clusters = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"];
    let nodes = (0..100).map(|number| NodeName::parse(&format!("n{number}")).unwrap());
    let nodes: Vec<NodeName> = nodes.collect();
    let all = clusters.iter().flat_map(|cluster| {
        let cluster = ClusterName::parse(cluster).unwrap();
        nodes
            .iter()
            .map(move |node| (cluster.clone(), node.clone()))
    });
    let targets: BTreeMap<NodeKey, SocketAddr> = all
        .zip(1..)
        .map(|(key, port)| (key, SocketAddr::from(([192, 0, 2, 1], port))))
        .collect();
    let now = Instant::now();
    let mut prober = Prober::new(CONFIG, name("e1"));
    prober.handle_targets(&targets, now);

    prober.handle_timeout(now);

    let sent = std::iter::from_fn(|| prober.poll_output());
    let sent = sent.filter(|output| matches!(output, Output::SendProbe { .. }));
    assert_eq!(targets.len(), 1000);
    assert_eq!(sent.count(), SAMPLE * clusters.len());
}

const INTERVAL: Duration = Duration::from_millis(100);

const CONFIG: ProbeConfig = ProbeConfig {
    interval: INTERVAL,
    multiplier: 3,
};

/// Which probes are answered.
#[derive(Clone, Copy)]
enum Answer {
    All,
    None,
    Only(&'static str),
}

struct World {
    prober: Prober,
    start: Instant,
    now: Instant,
    /// The changes of west's path, by the tick they came at.
    changes: Vec<(u32, Path)>,
}

impl World {
    fn new(nodes: &[&str]) -> Self {
        let start = Instant::now();
        let mut world = Self {
            prober: Prober::new(CONFIG, name("e1")),
            start,
            now: start,
            changes: Vec::new(),
        };
        world.prober.handle_targets(&targets(nodes), start);
        world.drain();
        world
    }

    fn ticks(&mut self, count: u32, answer: Answer) {
        for _ in 0..count {
            self.tick(answer);
        }
    }

    fn tick(&mut self, answer: Answer) {
        self.prober.handle_timeout(self.now);
        for (to, sequence) in self.drain() {
            let is_answered = match answer {
                Answer::All => true,
                Answer::None => false,
                Answer::Only(node) => to == address_of(node),
            };
            if is_answered {
                self.prober.handle_answer(to, sequence, self.now);
            }
        }
        self.drain();
        self.now += INTERVAL;
    }

    fn drain(&mut self) -> Vec<(SocketAddr, u64)> {
        let mut sent = Vec::new();
        while let Some(output) = self.prober.poll_output() {
            match output {
                Output::SendProbe { to, sequence } => sent.push((to, sequence)),
                Output::PathChanged { path, .. } => {
                    let tick = (self.now - self.start).as_millis() / INTERVAL.as_millis();
                    self.changes.push((u32::try_from(tick).unwrap(), path));
                }
            }
        }
        sent
    }
}

fn targets(nodes: &[&str]) -> BTreeMap<NodeKey, SocketAddr> {
    nodes
        .iter()
        .map(|node| ((west(), name(node)), address_of(node)))
        .collect()
}

fn address_of(node: &str) -> SocketAddr {
    address(node.trim_start_matches('w').parse().unwrap())
}

fn address(number: u16) -> SocketAddr {
    let ip = std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number);
    SocketAddr::from((ip, 4701))
}

fn west() -> ClusterName {
    ClusterName::parse("west").unwrap()
}

fn name(node: &str) -> NodeName {
    NodeName::parse(node).unwrap()
}
