//! The trust of a clusterset: its authority, the identities it issues, and the TLS configurations that verify them.
//!
//! A certificate says who its holder is by one SPIFFE id, never by a DNS name, so nothing here resolves or compares
//! host names.

#![forbid(unsafe_code)]

pub mod authority;
pub mod commands;
pub mod credentials;
pub mod file;
pub mod identity;
pub mod tls;
mod verifier;

pub use authority::Authority;
pub use credentials::Credentials;
pub use identity::{IdentityError, Role, SpiffeId, TrustDomain, identity_of};
pub use tls::{ALPN, Expectation, client_config, server_config};
