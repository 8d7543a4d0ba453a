//! Marks the shared types as plain old data for aya's maps.

use crate::{
    Address, AffinityKey, AffinityValue, BackendKey, BackendValue, ClusterValue, DeviceValue,
    FlowKey, FlowValue, FragmentKey, FragmentValue, FrontendKey, MaglevKey, MaglevValue, MemberKey,
    NodeValue, PeerValue, RevNatKey, RevNatValue, ServiceValue, SourceKey, load,
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
// SAFETY: as above.
unsafe impl aya::Pod for Address {}
// SAFETY: as above.
unsafe impl aya::Pod for AffinityKey {}
// SAFETY: as above.
unsafe impl aya::Pod for AffinityValue {}
// SAFETY: as above.
unsafe impl aya::Pod for MemberKey {}
// SAFETY: as above.
unsafe impl aya::Pod for DeviceValue {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowKey {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowValue {}
// SAFETY: as above.
unsafe impl aya::Pod for FragmentKey {}
// SAFETY: as above.
unsafe impl aya::Pod for FragmentValue {}
// SAFETY: as above.
unsafe impl aya::Pod for MaglevKey {}
// SAFETY: as above.
unsafe impl aya::Pod for MaglevValue {}
// SAFETY: as above.
unsafe impl aya::Pod for NodeValue {}
// SAFETY: as above.
unsafe impl aya::Pod for SourceKey {}
// SAFETY: as above.
unsafe impl aya::Pod for load::Plan {}
