//! Ranges of keys and their digests as they stand on the wire.

use prost::Message;

use super::Id;

/// What the sender holds in some ranges of keys, in parts; the other side compares it with what it holds.
#[derive(Clone, PartialEq, Message)]
pub struct Summaries {
    /// The level of the parts: 4 everything, 1 ranges of about 64 keys.
    #[prost(uint32, tag = "1")]
    pub level: u32,
    /// One for each range.
    #[prost(message, repeated, tag = "2")]
    pub summaries: Vec<Summary>,
    /// Whether more of the same follow.
    #[prost(bool, tag = "3")]
    pub more: bool,
    /// Whether they are of the sender's own store, not of what it knows of the receiver's.
    #[prost(bool, tag = "4")]
    pub of_sender: bool,
}

/// What the sender holds in a range of keys.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// The range.
    #[prost(message, optional, tag = "1")]
    pub range: Option<Range>,
    /// Its parts, in order.
    #[prost(message, repeated, tag = "2")]
    pub parts: Vec<Part>,
}

/// A part of a range; it ends where the next one begins.
#[derive(Clone, PartialEq, Message)]
pub struct Part {
    /// Where it begins; absent of the first part, which begins where the range does.
    #[prost(message, optional, tag = "1")]
    pub from: Option<RangeKey>,
    /// The 16 bytes of its digest.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

/// The subscriber wants what these ranges hold.
#[derive(Clone, PartialEq, Message)]
pub struct Differing {
    /// The ranges, in order; none if nothing differs.
    #[prost(message, repeated, tag = "1")]
    pub ranges: Vec<Range>,
    /// Whether more of the same follow.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

/// The keys from one to before another.
#[derive(Clone, PartialEq, Message)]
pub struct Range {
    /// The first key; absent for the beginning.
    #[prost(message, optional, tag = "1")]
    pub from: Option<RangeKey>,
    /// The key after the last; absent for the end.
    #[prost(message, optional, tag = "2")]
    pub until: Option<RangeKey>,
}

/// A key.
#[derive(Clone, PartialEq, Message)]
pub struct RangeKey {
    /// What it is about.
    #[prost(oneof = "Id", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub id: Option<Id>,
    /// The cluster that it belongs to, if that is not the publisher's.
    #[prost(string, tag = "16")]
    pub origin: String,
}
