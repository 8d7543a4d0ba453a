//! What a fuzzer drives, and what must hold whatever it drives it with.
//!
//! It is one file tree for two users: the fuzz targets beside it, and `tests/corpus.rs`, which replays what they found
//! with a stable compiler.

#![forbid(unsafe_code)]

mod digest;
mod frames;
mod session;
mod tape;
mod watch;

pub use digest::digest;
pub use frames::frames;
pub use session::session;
