//! Cuts and heals the way between two clusters or nodes, with rules in the network between the nodes.
//!
//! A cut is a silent black hole, as a dead line is: no answer tells the sender.

use std::{collections::BTreeSet, fmt};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    ip,
    plan::{NodePlan, Plan},
};

/// Before the rules that choose a cluster's table, so a cut wins.
const CUT_PREFERENCE: u32 = 500;

/// Which packets a cut swallows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// Only from the first place to the second.
    OneWay,
}

/// A one-way cut between two nodes that is in force.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cut {
    /// Whose packets are swallowed, as `<cluster>/<node>`.
    pub from: String,
    /// On their way where.
    pub to: String,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// Cuts two places, each a cluster or `<cluster>/<node>`, off from each other.
pub(crate) fn cut(plan: &Plan, from: &str, to: &str, direction: Direction) -> Result<()> {
    let there = in_force(plan)?;
    apply(
        plan,
        "add",
        |pair| !there.contains(pair),
        &pairs(plan, from, to, direction)?,
    )
}

/// Takes cuts between two places away, if there are any.
pub(crate) fn heal(plan: &Plan, from: &str, to: &str, direction: Direction) -> Result<()> {
    let there = in_force(plan)?;
    apply(
        plan,
        "del",
        |pair| there.contains(pair),
        &pairs(plan, from, to, direction)?,
    )
}

/// Takes all cuts away.
pub(crate) fn heal_all(plan: &Plan) -> Result<()> {
    for cut in in_force(plan)? {
        heal(plan, &cut.from, &cut.to, Direction::OneWay)?;
    }
    Ok(())
}

/// The cuts in force, read back from the kernel.
pub(crate) fn in_force(plan: &Plan) -> Result<BTreeSet<Cut>> {
    let preference = format!("{CUT_PREFERENCE}:");
    let text = ip::query(&plan.net(), &["-4", "rule", "list"])?;
    let mut cuts = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with(&preference)) {
        let words: Vec<_> = line.split_whitespace().collect();
        let after = |key: &str| {
            let at = words.iter().position(|word| *word == key)?;
            words.get(at + 1).copied()
        };
        let from = plan.nodes.iter().find(|n| after("iif") == Some(&n.device));
        // Rules for pod ranges have no node's address and would only repeat the cut.
        let to = plan
            .nodes
            .iter()
            .find(|n| after("to") == Some(&n.ipv4.to_string()));
        if let (Some(from), Some(to)) = (from, to) {
            cuts.insert(Cut {
                from: place(from),
                to: place(to),
            });
        }
    }
    Ok(cuts)
}

fn pairs(plan: &Plan, from: &str, to: &str, direction: Direction) -> Result<BTreeSet<Cut>> {
    let (from, to) = (nodes_at(plan, from)?, nodes_at(plan, to)?);
    let mut pairs = BTreeSet::new();
    for one in &from {
        for other in to.iter().filter(|other| other.netns != one.netns) {
            pairs.insert(Cut {
                from: place(one),
                to: place(other),
            });
            if direction == Direction::Both {
                pairs.insert(Cut {
                    from: place(other),
                    to: place(one),
                });
            }
        }
    }
    Ok(pairs)
}

fn apply(
    plan: &Plan,
    verb: &str,
    is_wanted: impl Fn(&Cut) -> bool,
    pairs: &BTreeSet<Cut>,
) -> Result<()> {
    let mut rules = Vec::new();
    for pair in pairs.iter().filter(|pair| is_wanted(pair)) {
        let from = node_at(plan, &pair.from)?;
        for prefix in node_at(plan, &pair.to)?.prefixes() {
            let device = &from.device;
            let rule =
                format!("rule {verb} pref {CUT_PREFERENCE} iif {device} to {prefix} blackhole");
            rules.push((prefix, rule));
        }
    }
    ip::rules(&plan.net(), &rules)
}

fn place(node: &NodePlan) -> String {
    format!("{}/{}", node.cluster, node.name)
}

fn nodes_at<'a>(plan: &'a Plan, place: &'a str) -> Result<Vec<&'a NodePlan>> {
    if place.contains('/') {
        return Ok(vec![node_at(plan, place)?]);
    }
    plan.cluster(place)?;
    Ok(plan.nodes_of(place).collect())
}

fn node_at<'a>(plan: &'a Plan, place: &str) -> Result<&'a NodePlan> {
    let (cluster, node) = place
        .split_once('/')
        .with_context(|| format!("'{place}' is no node: write <cluster>/<node>"))?;
    plan.node(cluster, node)
}
