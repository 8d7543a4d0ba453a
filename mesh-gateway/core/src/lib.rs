//! The session protocol between gateways, and between a gateway and its nodes, as a pure state machine.
//!
//! Bytes, the time and the store's answers come in; bytes, requests to the store and facts about the peer go out. The
//! shell that moves them over QUIC is `mesh-link`; the wire is described in `docs/protocol.md`.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests need one real instant to count from"
    )
)]

pub mod backoff;
pub mod codec;
pub mod convert;
pub mod dialling;
pub mod instance;
pub mod limits;
pub mod liveness;
pub mod pace;
pub mod packing;
pub mod peering;
pub mod question;
pub mod reason;
pub mod replicas;
pub mod resume;
pub mod saved;
pub mod session;
pub mod update;
pub mod wire;
