//! What is seen on the devices between a lab's nodes.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;

use crate::{lab::Lab, process::Process};

/// A running capture; it ends with this.
#[derive(Debug)]
pub struct Capture(Process);

impl Capture {
    /// Starts a capture of what a filter lets through at the network's end of a node's link, and waits until it is at work.
    pub fn start(lab: &Lab, device: &str, filter: &str) -> Result<Self> {
        let argv = [
            "tcpdump",
            "-n",
            "-l",
            "--immediate-mode",
            "-i",
            device,
            filter,
        ];
        let mut process = lab.spawn_between_nodes(argv)?;
        let stderr = process.take_stderr().context("reading what tcpdump says")?;
        let mut is_at_work = false;
        for line in BufReader::new(stderr).lines() {
            is_at_work = line?.contains("listening on");
            if is_at_work {
                break;
            }
        }
        ensure!(is_at_work, "tcpdump has not begun at {device}");
        Ok(Self(process))
    }

    /// The same on all links of all nodes.
    pub fn everywhere(lab: &Lab, filter: &str) -> Result<Vec<Self>> {
        let nodes = lab.plan().nodes.iter();
        nodes
            .map(|node| Self::start(lab, &node.device, filter))
            .collect()
    }

    /// The first packet, a line as tcpdump prints it; waits for one.
    pub fn first(mut self) -> Result<String> {
        let stdout = self.0.take_stdout().context("reading the packets")?;
        let first = BufReader::new(stdout).lines().next();
        Ok(first.context("tcpdump has ended")??)
    }

    /// Ends it and hands over what was seen, a line for each packet; tcpdump prints each at once.
    pub fn finish(mut self) -> Result<Vec<String>> {
        let stdout = self.0.take_stdout().context("reading the packets")?;
        self.0.kill();
        Ok(BufReader::new(stdout).lines().collect::<Result<_, _>>()?)
    }
}

/// The filter for what goes in clear from pods of one cluster to pods of another.
pub fn in_clear_between_clusters(lab: &Lab) -> String {
    let clusters = &lab.plan().topology.clusters;
    let pairs = clusters.iter().flat_map(|from| {
        let others = clusters.iter().filter(|to| to.name != from.name);
        others.map(|to| from_to(&from.pod_cidrs, &to.pod_cidrs))
    });
    pairs.collect::<Vec<_>>().join(" or ")
}

/// The filter for what goes in clear from any pod to any other.
pub fn in_clear_between_pods(lab: &Lab) -> String {
    let clusters = lab.plan().topology.clusters.iter();
    let all: Vec<IpNet> = clusters.flat_map(|c| c.pod_cidrs.clone()).collect();
    from_to(&all, &all)
}

fn from_to(from: &[IpNet], to: &[IpNet]) -> String {
    let any = |side: &str, ranges: &[IpNet]| {
        let each = ranges.iter().map(|range| format!("{side} net {range}"));
        each.collect::<Vec<_>>().join(" or ")
    };
    format!("(({}) and ({}))", any("src", from), any("dst", to))
}
