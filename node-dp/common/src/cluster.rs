//! The state of each cluster, the value of `CLUSTERS`: one write to it takes a cluster out of every service.

use core::fmt;

/// The number of indices that clusters can have on a node.
pub const MAX_CLUSTERS: u16 = 256;

/// The index of the node's own cluster.
pub const LOCAL_CLUSTER: u16 = 0;

/// The longest cluster name that fits, in bytes; a DNS label has at most 63.
pub const MAX_NAME_BYTES: usize = 64;

/// Whether a cluster's backends take new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ClusterState {
    /// No cluster has this index.
    Unused = 0,
    /// They do.
    Up = 1,
    /// They take all but the drained share of them.
    Draining = 2,
    /// They take none.
    Down = 3,
    /// They take none because the loss of the cluster is being rehearsed.
    Drill = 4,
}

impl ClusterState {
    /// The state that a number from a map stands for.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Unused),
            1 => Some(Self::Up),
            2 => Some(Self::Draining),
            3 => Some(Self::Down),
            4 => Some(Self::Drill),
            _ => None,
        }
    }
}

/// A cluster as the kernel sees it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterValue {
    state: u8,
    drain: u8,
    _pad: [u8; 2],
    name: [u8; MAX_NAME_BYTES],
}

const _: () = assert!(size_of::<ClusterValue>() == 68);

impl ClusterValue {
    /// What an index that no cluster has holds.
    pub const UNUSED: Self = Self {
        state: ClusterState::Unused as u8,
        drain: 0,
        _pad: [0; 2],
        name: [0; MAX_NAME_BYTES],
    };

    /// A cluster in the given state; `None` if its name does not fit.
    ///
    /// The name is there so that a restarted agent finds its indices again.
    pub fn try_new(name: &str, state: ClusterState) -> Option<Self> {
        let mut value = Self::UNUSED;
        value
            .name
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        Some(value.with_state(state))
    }

    /// The same cluster in another state, draining nothing.
    #[must_use]
    pub fn with_state(mut self, state: ClusterState) -> Self {
        self.state = state as u8;
        self.drain = 0;
        self
    }

    /// The same cluster, draining: `drain` of 256 new connections go elsewhere.
    #[must_use]
    pub fn draining(mut self, drain: u8) -> Self {
        self.state = ClusterState::Draining as u8;
        self.drain = drain;
        self
    }

    /// Its state; `None` if the map holds a number this version does not know.
    pub fn state(&self) -> Option<ClusterState> {
        ClusterState::from_number(self.state)
    }

    /// How many of 256 new connections go elsewhere while it drains.
    pub fn drain(&self) -> u8 {
        self.drain
    }

    /// Its name; empty for an unused index or for bytes that are no text.
    pub fn name(&self) -> &str {
        let end = self
            .name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(MAX_NAME_BYTES);
        core::str::from_utf8(&self.name[..end]).unwrap_or_default()
    }

    /// Whether one new connection may go there, `draw` being a number drawn for it.
    #[inline(always)]
    pub fn takes(&self, draw: impl FnOnce() -> u32) -> bool {
        if self.state == ClusterState::Up as u8 {
            return true;
        }
        self.state == ClusterState::Draining as u8 && draw() & 0xff >= u32::from(self.drain)
    }
}

impl fmt::Debug for ClusterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterValue")
            .field("name", &self.name())
            .field("state", &self.state())
            .field("drain", &self.drain)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clusters_that_are_up_take_every_connection() {
        let cluster = ClusterValue::try_new("west", ClusterState::Up).unwrap();

        assert!(cluster.takes(|| 0));
        for state in [
            ClusterState::Unused,
            ClusterState::Down,
            ClusterState::Drill,
        ] {
            assert!(!cluster.with_state(state).takes(|| u32::MAX));
        }
    }

    #[test]
    fn a_draining_cluster_loses_its_share_of_256() {
        let cluster = ClusterValue::try_new("west", ClusterState::Up)
            .unwrap()
            .draining(64);

        let taken = (0..256).filter(|draw| cluster.takes(|| *draw)).count();

        assert_eq!(taken, 192);
    }

    #[test]
    fn a_name_of_64_bytes_is_the_longest() {
        let longest = "w".repeat(MAX_NAME_BYTES);
        let value = ClusterValue::try_new(&longest, ClusterState::Up).unwrap();

        assert_eq!(value.name(), longest);
        assert_eq!(
            ClusterValue::try_new(&format!("{longest}w"), ClusterState::Up),
            None
        );
    }

    #[test]
    fn bytes_of_an_unknown_state_are_no_state_and_take_nothing() {
        let mut value = ClusterValue::try_new("west", ClusterState::Up).unwrap();
        value.state = 9;

        assert_eq!(value.state(), None);
        assert!(!value.takes(|| u32::MAX));
    }
}
