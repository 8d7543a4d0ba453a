//! Sources of Kubernetes objects, the API server's watches and a directory of ordinary manifests, and the sink.
//!
//! Both give the same [`source::SourceEvent`]s, made by the same conversion, so a gateway cannot tell them apart. The
//! conversion and the index are pure; [`manifest::ManifestSource`] and [`kubernetes::KubernetesSource`] are the shells.

#![forbid(unsafe_code)]

pub mod api;
mod convert;
mod following;
mod index;
pub mod kubernetes;
pub mod manifest;
mod object;
pub mod sink;
pub mod source;
#[cfg(test)]
mod testing;
