//! The versions that fit each other; the only place where they stand.
//!
//! The linker must be built against the LLVM of the compiler's major version, or it cannot read the compiler's bitcode.

/// The version of `bpf-linker`.
pub const BPF_LINKER: &str = "0.13.0";

/// The major version of LLVM that compiler and linker share.
pub const LLVM: &str = "22";

/// Where Debian puts that LLVM, for building the linker (`LLVM_PREFIX`).
pub const DEBIAN_LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Debian's packages: a compiler, its `core` for the BPF target, and LLVM.
pub const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];

/// The compiler of those packages.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The rustup toolchain that is used where Debian's packages are not: it needs the component `rust-src`.
pub const RUSTUP_TOOLCHAIN: &str = "nightly-2026-05-20";

/// The compiler's name of the target.
pub const TARGET: &str = if cfg!(target_endian = "big") {
    "bpfeb-unknown-none"
} else {
    "bpfel-unknown-none"
};
