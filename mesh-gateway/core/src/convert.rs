//! Between the registry's types and the wire's: encoding cannot fail, decoding believes nothing.

mod decode;
mod encode;
mod range;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use decode::{Origins, decode_position, decode_update};
pub use encode::{encode_change, encode_position};
pub use range::{
    RangeOrder, decode_range, decode_ranges, decode_summary, encode_range, encode_summary,
};
pub use read::SnapshotReader;
pub use write::{append_update, encode_for_digest, write_change};
