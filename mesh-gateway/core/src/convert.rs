//! Between the registry's types and the wire's: encoding cannot fail, decoding believes nothing.

mod decode;
mod encode;
mod range;
#[cfg(test)]
mod tests;

pub use decode::{Origins, decode_position, decode_update};
pub use encode::{encode_change, encode_position};
pub use range::{
    RangeOrder, decode_range, decode_ranges, decode_summary, encode_for_digest, encode_range,
    encode_summary,
};
