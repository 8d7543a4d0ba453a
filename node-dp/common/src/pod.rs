//! Marks the shared types as plain old data for aya's maps.

use crate::{
    BackendKey, BackendValue, ClusterValue, FrontendKey, PeerValue, RevNatKey, RevNatValue,
    ServiceValue,
};

// SAFETY: repr(C) without implicit padding (its size is asserted), and any bytes are a valid value.
unsafe impl aya::Pod for FrontendKey {}
// SAFETY: as above.
unsafe impl aya::Pod for ServiceValue {}
// SAFETY: as above.
unsafe impl aya::Pod for BackendKey {}
// SAFETY: as above.
unsafe impl aya::Pod for BackendValue {}
// SAFETY: as above.
unsafe impl aya::Pod for ClusterValue {}
// SAFETY: as above.
unsafe impl aya::Pod for RevNatKey {}
// SAFETY: as above.
unsafe impl aya::Pod for RevNatValue {}
// SAFETY: as above.
unsafe impl aya::Pod for PeerValue {}
