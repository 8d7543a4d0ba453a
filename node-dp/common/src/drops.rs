//! What went wrong with a connection, datagram or packet to a frontend, the index of `DROPS`.

use core::fmt;

/// Why a connection, datagram or packet was refused or not served in full, counted per CPU under its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum DropReason {
    /// The service has no backend at all.
    NoBackend = 0,
    /// Every cluster with a backend is out.
    NoLiveCluster = 1,
    /// The selected slot held no backend.
    BackendMissing = 2,
    /// The selected backend is of a family that the socket cannot reach.
    FamilyMismatch = 3,
    /// There was no memory to note which frontend the traffic was for. It went on, with the backend's own address in
    /// what the client sees.
    NotRemembered = 4,
    /// The client is not in the service's source ranges, or in one that is denied.
    SourceRefused = 5,
    /// Every port that was tried for the flow was taken.
    NoSourcePort = 6,
    /// The table of flows holds as many as it can.
    FlowTableFull = 7,
    /// The backend is elsewhere, and the node has no address of its family that could stand for the client.
    NoMasqueradeAddress = 8,
    /// The kernel would not let the packet be rewritten.
    NotRewritable = 9,
}

impl DropReason {
    /// All reasons, in order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::NoBackend,
        Self::NoLiveCluster,
        Self::BackendMissing,
        Self::FamilyMismatch,
        Self::NotRemembered,
        Self::SourceRefused,
        Self::NoSourcePort,
        Self::FlowTableFull,
        Self::NoMasqueradeAddress,
        Self::NotRewritable,
    ];

    /// Its number: the index in `DROPS`.
    #[inline(always)]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The reason of a number; an unknown one counts as a packet that could not be rewritten.
    #[inline(always)]
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::NoBackend,
            1 => Self::NoLiveCluster,
            2 => Self::BackendMissing,
            3 => Self::FamilyMismatch,
            4 => Self::NotRemembered,
            5 => Self::SourceRefused,
            6 => Self::NoSourcePort,
            7 => Self::FlowTableFull,
            8 => Self::NoMasqueradeAddress,
            _ => Self::NotRewritable,
        }
    }

    /// Its name in metrics and status.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoBackend => "no_backend",
            Self::NoLiveCluster => "no_live_cluster",
            Self::BackendMissing => "backend_missing",
            Self::FamilyMismatch => "family_mismatch",
            Self::NotRemembered => "not_remembered",
            Self::SourceRefused => "source_refused",
            Self::NoSourcePort => "no_source_port",
            Self::FlowTableFull => "flow_table_full",
            Self::NoMasqueradeAddress => "no_masquerade_address",
            Self::NotRewritable => "not_rewritable",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_without_gaps() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(usize::try_from(reason.number()).unwrap(), index);
            assert_eq!(DropReason::from_number(reason.number()), reason);
        }
    }
}
