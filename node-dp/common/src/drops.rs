//! What went wrong with a connection or datagram to a frontend, the index of `DROPS`.

use core::fmt;

/// Why a connection or datagram was refused or not served in full, counted per CPU under its number.
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
}

impl DropReason {
    /// All reasons, in order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::NoBackend,
        Self::NoLiveCluster,
        Self::BackendMissing,
        Self::FamilyMismatch,
        Self::NotRemembered,
    ];

    /// Its number: the index in `DROPS`.
    #[inline(always)]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Its name in metrics and status.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoBackend => "no_backend",
            Self::NoLiveCluster => "no_live_cluster",
            Self::BackendMissing => "backend_missing",
            Self::FamilyMismatch => "family_mismatch",
            Self::NotRemembered => "not_remembered",
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
        }
    }
}
