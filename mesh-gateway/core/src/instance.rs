//! Which process a side of a session is: one life of one replica.
//!
//! A cluster may have several gateways, and each may be replaced by a newer life of itself. The certificate says which
//! cluster speaks; what stands here only tells processes of that cluster apart, and is believed no further.

use std::{fmt, sync::Arc};

/// The longest name of a replica: the name of a host in DNS, and the number of a process behind it.
pub const MAX_REPLICA_BYTES: usize = 264;

/// The random number of a process, made at its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub [u8; 16]);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// When a process started, in microseconds since 1970: of two lives of one replica, the later one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// The name of a replica is empty, too long or has characters that do not print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a replica's name has 1 to {MAX_REPLICA_BYTES} bytes, all of them printable")]
pub struct BadReplica;

/// A process, as it names itself in its HELLO.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    id: InstanceId,
    incarnation: Incarnation,
    replica: Arc<str>,
}

impl Instance {
    /// A process, if its replica has a name that can be told.
    pub fn try_new(
        id: InstanceId,
        incarnation: Incarnation,
        replica: &str,
    ) -> Result<Self, BadReplica> {
        let has_length = (1..=MAX_REPLICA_BYTES).contains(&replica.len());
        if !has_length || replica.contains(char::is_control) {
            return Err(BadReplica);
        }
        Ok(Self {
            id,
            incarnation,
            replica: replica.into(),
        })
    }

    /// Its number, which no other process has.
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// When it started.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The name of the replica that it is a life of.
    pub fn replica(&self) -> &str {
        &self.replica
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_without_a_printable_name_is_refused() {
        let long = "a".repeat(MAX_REPLICA_BYTES + 1);
        for name in ["", "one\ntwo", &long] {
            let made = Instance::try_new(InstanceId([1; 16]), Incarnation(1), name);
            assert_eq!(made, Err(BadReplica), "{name:?}");
        }
    }
}
