//! Joins the two signals about a cluster, its control session and the path to its nodes, into one verdict.
//!
//! A lost control session alone is not a reason to take backends out: the bytes may still flow. A lost path is.

use cluster_registry::cluster::Control;

/// What the probes through the tunnels say about the way to a cluster's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// Nothing can be probed: there is no tunnel to any of its nodes.
    Unprobed,
    /// Probes have been sent and it is too early to tell.
    Pending,
    /// At least one of the probed nodes answers.
    Good,
    /// None of the probed nodes answers.
    Lost,
}

impl Path {
    /// The name in status and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unprobed => "unprobed",
            Self::Pending => "pending",
            Self::Good => "good",
            Self::Lost => "lost",
        }
    }
}

/// Whether a cluster's backends take new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ruling {
    /// They do.
    Up,
    /// They do not.
    Down,
}

impl Ruling {
    /// The name in status and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Why a cluster is ruled as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It is the node's own cluster.
    Local,
    /// Control and path are both fine.
    Healthy,
    /// Control is lost and the path is good: what is known of it is kept, and ages.
    Frozen,
    /// Control lives and the path cannot be probed, so control decides.
    ControlOnly,
    /// Control lives and the probes have not told yet: the ruling before stays.
    Probing,
    /// Control is lost and the probes have not told yet: the ruling before stays.
    Waiting,
    /// Control lives, yet nothing comes back through the tunnels.
    PathLost,
    /// Control is lost and nothing comes back through the tunnels.
    BothLost,
    /// Control is lost and the path cannot be probed, so control decides.
    ControlLost,
}

impl Reason {
    /// The name in status and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Healthy => "healthy",
            Self::Frozen => "frozen",
            Self::ControlOnly => "control-only",
            Self::Probing => "probing",
            Self::Waiting => "waiting",
            Self::PathLost => "path-lost",
            Self::BothLost => "both-lost",
            Self::ControlLost => "control-lost",
        }
    }
}

/// A ruling and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verdict {
    /// The ruling.
    pub ruling: Ruling,
    /// Its reason.
    pub reason: Reason,
}

impl Verdict {
    /// The verdict on the node's own cluster, whose backends Kubernetes' readiness alone rules.
    pub const LOCAL: Self = Self {
        ruling: Ruling::Up,
        reason: Reason::Local,
    };
}

/// Rules a cluster; `before` is how it was ruled until now, `None` for a new one.
///
/// The ruling before only matters where neither signal tells: an agent that has just started must not take out a cluster
/// that its predecessor held up, nor bring back one that it held down.
pub fn verdict(control: Control, path: Path, before: Option<Ruling>) -> Verdict {
    let (ruling, reason) = match (control, path) {
        (Control::Connected, Path::Good) => (Ruling::Up, Reason::Healthy),
        (Control::Connected, Path::Unprobed) => (Ruling::Up, Reason::ControlOnly),
        (Control::Connected, Path::Pending) => (before.unwrap_or(Ruling::Down), Reason::Probing),
        (Control::Connected, Path::Lost) => (Ruling::Down, Reason::PathLost),
        (Control::Lost, Path::Good) => (Ruling::Up, Reason::Frozen),
        (Control::Lost, Path::Unprobed) => (Ruling::Down, Reason::ControlLost),
        (Control::Lost, Path::Pending) => (before.unwrap_or(Ruling::Down), Reason::Waiting),
        (Control::Lost, Path::Lost) => (Ruling::Down, Reason::BothLost),
    };
    Verdict { ruling, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_path_takes_a_cluster_out_whatever_control_says() {
        for control in [Control::Connected, Control::Lost] {
            for before in [None, Some(Ruling::Up), Some(Ruling::Down)] {
                assert_eq!(verdict(control, Path::Lost, before).ruling, Ruling::Down);
            }
        }
    }

    #[test]
    fn a_good_path_keeps_a_cluster_whose_control_is_lost() {
        let verdict = verdict(Control::Lost, Path::Good, Some(Ruling::Up));

        assert_eq!(verdict.ruling, Ruling::Up);
        assert_eq!(verdict.reason, Reason::Frozen);
    }

    #[test]
    fn control_decides_where_no_path_can_be_probed() {
        let up = verdict(Control::Connected, Path::Unprobed, Some(Ruling::Down));
        let down = verdict(Control::Lost, Path::Unprobed, Some(Ruling::Up));

        assert_eq!(up.ruling, Ruling::Up);
        assert_eq!(down.ruling, Ruling::Down);
    }

    #[test]
    fn a_fresh_start_keeps_the_ruling_until_the_probes_tell() {
        for control in [Control::Connected, Control::Lost] {
            for before in [Ruling::Up, Ruling::Down] {
                let verdict = verdict(control, Path::Pending, Some(before));
                assert_eq!(verdict.ruling, before);
            }
        }
    }

    #[test]
    fn a_new_cluster_that_is_probed_is_up_only_once_its_path_is_good() {
        for control in [Control::Connected, Control::Lost] {
            assert_eq!(verdict(control, Path::Pending, None).ruling, Ruling::Down);
            assert_eq!(verdict(control, Path::Good, None).ruling, Ruling::Up);
        }
    }
}
