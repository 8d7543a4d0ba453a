//! Sessions over real QUIC on loopback, with real certificates, among the well-behaved and others.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod hostile;
mod loopback;
mod support;
