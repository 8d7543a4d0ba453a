//! A Kubernetes API server for tests and the lab: ours in this process, or a real one where its binaries are.
//!
//! Ours speaks what kube-rs and `kubectl` need: discovery, lists in pages, watches, patches with server-side apply,
//! custom kinds with schemas and CEL rules, and garbage collection; and it breaks on purpose. It has no controllers
//! beside those, no admission and no access rules.

#![forbid(unsafe_code)]

mod answering;
mod api;
mod discovery;
mod either;
mod faults;
mod fields;
mod form;
mod kind;
mod layout;
mod meta;
mod ownership;
mod patch;
mod real;
mod refusal;
mod rules;
mod schema;
mod selector;
mod server;
mod state;
mod store;
mod watching;

pub use crate::{
    either::AnyServer,
    faults::Requests,
    kind::GroupResource,
    real::RealServer,
    server::{ApiServer, Settings},
};
