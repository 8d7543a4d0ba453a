//! Runs sessions of the protocol over QUIC with mutual TLS: the shell that gateways and node agents share.
//!
//! A [`dial::Dialer`] keeps a session with each gateway of a peer, a [`listen::Listener`] takes sessions from peers that an
//! [`listen::Authorise`] admits; a [`seat::Seat`] says which of several sessions with replicas of one peer is subscribed. Each session publishes a [`feed::Feed`] to its peer and reports what the peer says as
//! [`event::Report`]s. What to say and when is decided by `mesh-gateway-core`.

#![forbid(unsafe_code)]

mod asking;
mod attempt;
pub mod dial;
mod drive;
pub mod event;
pub mod feed;
mod identity;
mod knock;
pub mod listen;
mod places;
pub mod resume;
pub mod seat;
pub mod settings;
mod shares;
mod streams;
pub mod transport;
