//! Keeps on disk which ranges lead into the tunnel or nowhere.
//!
//! A node that is booted has no routes, and pods that remember another cluster's addresses. What it refused before it
//! refuses again from the agent's first moment on, until it has heard which ranges count.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use node_dp_core::tunnel::{TunnelPlan, inside::InsidePlan};

use crate::tunnel::{self, GuardError};

/// The file in the state directory.
const FILE: &str = "tunnel-routes";

/// What a line of the file is of: a range of another cluster, one of the node's own pods, one of another node's pods.
const BETWEEN: &str = "between";
const SOURCE: &str = "source";
const INSIDE: &str = "inside";

/// The ranges that are kept.
#[derive(Debug)]
pub(crate) struct Guard {
    path: PathBuf,
    ranges: Ranges,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Ranges {
    between: BTreeSet<IpNet>,
    inside: InsidePlan,
}

impl Guard {
    /// What a former run kept, if it can be read.
    pub(crate) fn load(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let ranges = match fs::read_to_string(&path) {
            Ok(text) => Ranges::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ranges::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "it is not known what was refused before");
                Ranges::default()
            }
        };
        Self { path, ranges }
    }

    /// Refuses what is for these ranges, and for others that lead into the tunnel or nowhere, until a tunnel leads there.
    pub(crate) async fn stand(&self, only: &BTreeSet<IpNet>) -> Result<(), GuardError> {
        let between = self.ranges.between.union(only).copied().collect();
        tunnel::guard(&between, &self.ranges.inside).await
    }

    /// Keeps the ranges of a plan.
    pub(super) fn keep(&mut self, plan: &TunnelPlan) {
        let ranges = Ranges {
            between: plan.routes.clone(),
            inside: InsidePlan {
                through: BTreeSet::new(),
                ..plan.inside.clone()
            },
        };
        if ranges == self.ranges {
            return;
        }
        match write(&self.path, &ranges.to_string()) {
            Ok(()) => self.ranges = ranges,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "what to refuse at the next start is not kept");
            }
        }
    }
}

impl Ranges {
    /// A line that is none of ours is passed over: the others are worth having.
    fn parse(text: &str) -> Self {
        let mut ranges = Self::default();
        for line in text.lines() {
            let Some((kind, range)) = line.split_once(' ') else {
                continue;
            };
            let Ok(range) = range.parse::<IpNet>() else {
                continue;
            };
            match kind {
                BETWEEN => ranges.between.insert(range),
                SOURCE => ranges.inside.sources.insert(range),
                INSIDE => ranges.inside.guarded.insert(range),
                _ => false,
            };
        }
        ranges
    }
}

impl std::fmt::Display for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (kind, ranges) in [
            (BETWEEN, &self.between),
            (SOURCE, &self.inside.sources),
            (INSIDE, &self.inside.guarded),
        ] {
            for range in ranges {
                writeln!(f, "{kind} {range}")?;
            }
        }
        Ok(())
    }
}

/// Writes beside the file and renames, so that a crash leaves a whole one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, text)?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut guard = Guard::load(dir.path());
        assert_eq!(guard.ranges, Ranges::default());
        let plan = TunnelPlan {
            routes: nets(&["10.2.0.0/16", "fd02::/64"]),
            inside: InsidePlan {
                sources: nets(&["10.1.0.0/24"]),
                through: nets(&["10.1.1.0/24"]),
                guarded: nets(&["10.1.1.0/24", "10.1.2.0/24"]),
            },
            ..TunnelPlan::default()
        };

        guard.keep(&plan);

        let found = Guard::load(dir.path());
        assert_eq!(found.ranges, guard.ranges);
        assert_eq!(found.ranges.between, plan.routes);
        assert_eq!(found.ranges.inside.guarded, plan.inside.guarded);
        // No tunnel leads there yet when the node starts again.
        assert!(found.ranges.inside.through.is_empty());
    }

    #[test]
    fn what_cannot_be_read_keeps_nothing_else_from_being_refused() {
        let ranges = Ranges::parse(
            "between 10.2.0.0/16\n\nbetween\nbetween ten\nsomething 10.3.0.0/16\ninside fd01::/64\n",
        );

        assert_eq!(ranges.between, nets(&["10.2.0.0/16"]));
        assert_eq!(ranges.inside.guarded, nets(&["fd01::/64"]));
    }

    fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }
}
