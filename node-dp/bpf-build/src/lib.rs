//! Finds a toolchain for the BPF target and builds the kernel programs with it.
//!
//! Used by the agent's build script and by `cargo xtask setup`, so that both mean the same toolchain. It must need nothing
//! but the standard library to build, or every agent build waits for it.

#![forbid(unsafe_code)]

mod build;
mod environment;
pub mod pins;
mod toolchain;

pub use build::{BuildError, build, sources};
pub use toolchain::{OVERRIDES, Toolchain, ToolchainMissing, find_linker};
