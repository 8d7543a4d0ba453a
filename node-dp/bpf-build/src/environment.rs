//! Which of the caller's environment a nested build may see.
//!
//! An outer cargo, clippy or rustdoc says much to its children that is meant for its own packages: flags, wrappers, target
//! directories. Any of it would break or needlessly repeat the nested build.

use std::ffi::{OsStr, OsString};

/// What cargo and rustup need to find their homes, registries and the network.
const KEPT: [&str; 4] = [
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_DIST_SERVER",
    "RUSTUP_UPDATE_ROOT",
];

/// The same, by prefix: a configured proxy or registry mirror stays in force.
const KEPT_PREFIXES: [&str; 5] = [
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
];

/// What cargo says to compilers and build scripts.
const DROPPED_PREFIXES: [&str; 5] = ["CARGO", "RUST", "__CARGO", "CLIPPY", "DEP_"];

/// The same, without a common prefix.
const DROPPED: [&str; 9] = [
    "TARGET",
    "HOST",
    "PROFILE",
    "DEBUG",
    "OPT_LEVEL",
    "NUM_JOBS",
    "OUT_DIR",
    "MAKEFLAGS",
    "MFLAGS",
];

/// The variables of `all` that a nested build must not see.
pub(crate) fn dropped(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<OsString> {
    all.map(|(name, _)| name)
        .filter(|name| !is_kept(name))
        .collect()
}

fn is_kept(name: &OsStr) -> bool {
    // What is not UTF-8 is none of cargo's.
    let Some(name) = name.to_str() else {
        return true;
    };
    if KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return true;
    }
    !(DROPPED.contains(&name)
        || DROPPED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_outer_build_says_to_its_compilers_is_dropped() {
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "RUSTC",
            "RUSTUP_TOOLCHAIN",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_MAKEFLAGS",
            "CARGO_CFG_TARGET_ARCH",
            "CARGO_PROFILE_RELEASE_LTO",
            "CLIPPY_ARGS",
            "OUT_DIR",
        ] {
            assert!(!is_kept(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_leads_to_the_registry_is_kept() {
        for name in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "RUSTUP_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
            "https_proxy",
        ] {
            assert!(is_kept(OsStr::new(name)), "{name}");
        }
    }
}
