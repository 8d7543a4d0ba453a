//! What both daemons share: logs and traces, the admin server, readiness, shutdown, and the shape of their status.

#![forbid(unsafe_code)]

pub mod admin;
pub mod duration;
pub mod readiness;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod trace;
