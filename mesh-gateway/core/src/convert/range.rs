//! Ranges of keys and their digests, between the registry's types and the wire's.

use cluster_registry::{
    digest::{Digest, KeyRange, Level, Part, Summary},
    name::ClusterName,
    resource::Key,
};

use super::{
    decode::{Origins, decode_id, decode_origin},
    encode::encode_id,
};
use crate::{reason::Violation, wire};

/// A range of keys; `publisher` is the cluster whose store it is of.
pub fn encode_range(range: &KeyRange, publisher: &ClusterName) -> wire::Range {
    let key = |key: &Option<Key>| key.as_ref().map(|key| encode_key(key, publisher));
    wire::Range {
        from: key(&range.from),
        until: key(&range.until),
    }
}

/// What a side holds in a range.
pub fn encode_summary(summary: &Summary, publisher: &ClusterName) -> wire::Summary {
    let parts = summary.parts.iter().enumerate().map(|(n, part)| {
        let from = part.from.as_ref().filter(|_| n > 0);
        wire::Part {
            from: from.map(|key| encode_key(key, publisher)),
            digest: part.digest.0.to_vec(),
        }
    });
    wire::Summary {
        range: Some(encode_range(&summary.range, publisher)),
        parts: parts.collect(),
    }
}

/// A range of keys of a publisher's store.
pub fn decode_range(range: wire::Range, publisher: &ClusterName) -> Result<KeyRange, Violation> {
    let key = |key: Option<wire::RangeKey>| key.map(|key| decode_key(key, publisher)).transpose();
    Ok(KeyRange {
        from: key(range.from)?,
        until: key(range.until)?,
    })
}

/// Ranges of keys of a publisher's store, which are said together.
pub fn decode_ranges(
    ranges: Vec<wire::Range>,
    publisher: &ClusterName,
) -> Result<Vec<KeyRange>, Violation> {
    let mut order = RangeOrder::default();
    let ranges = ranges.into_iter().map(|range| {
        let range = decode_range(range, publisher)?;
        order.take(&range).map(|()| range)
    });
    ranges.collect()
}

/// Holds ranges that are said together to their order, in which no key is in two.
///
/// What they cost is then bounded by what there is, however many there are.
#[derive(Debug, Default)]
pub struct RangeOrder {
    /// Where the last one ended, if there was one.
    end: Option<Option<Key>>,
}

impl RangeOrder {
    /// Takes the next range.
    pub fn take(&mut self, range: &KeyRange) -> Result<(), Violation> {
        let is_next = match &self.end {
            None => true,
            Some(None) => false,
            Some(Some(end)) => range.from.as_ref().is_some_and(|from| end <= from),
        };
        let bounds = range.from.as_ref().zip(range.until.as_ref());
        if !is_next || bounds.is_some_and(|(from, until)| until <= from) {
            return Err(Violation::MalformedRange);
        }
        self.end = Some(range.until.clone());
        Ok(())
    }
}

/// What the other side holds in a range.
pub fn decode_summary(
    level: Level,
    summary: wire::Summary,
    publisher: &ClusterName,
) -> Result<Summary, Violation> {
    let range = summary.range.ok_or(Violation::MalformedRange)?;
    let range = decode_range(range, publisher)?;
    let parts = summary.parts.into_iter().enumerate().map(|(n, part)| {
        let digest = part.digest.as_slice().try_into();
        let digest = Digest(digest.map_err(|_not_16_bytes| Violation::MalformedRange)?);
        let from = match part.from {
            None if n == 0 => range.from.clone(),
            None => return Err(Violation::MalformedRange),
            Some(key) => Some(decode_key(key, publisher)?),
        };
        Ok(Part { from, digest })
    });
    let parts = parts.collect::<Result<_, _>>()?;
    Ok(Summary {
        level,
        range,
        parts,
    })
}

fn encode_key(key: &Key, publisher: &ClusterName) -> wire::RangeKey {
    let is_own = key.cluster == *publisher;
    wire::RangeKey {
        id: Some(encode_id(&key.id)),
        origin: match is_own {
            true => String::new(),
            false => key.cluster.as_str().to_owned(),
        },
    }
}

fn decode_key(key: wire::RangeKey, publisher: &ClusterName) -> Result<Key, Violation> {
    let malformed = |_refusal| Violation::MalformedRange;
    let cluster = decode_origin(&key.origin, publisher, Origins::Any).map_err(malformed)?;
    let id = key.id.ok_or(Violation::MalformedRange)?;
    let id = decode_id(id).map_err(malformed)?;
    Ok(Key { cluster, id })
}

#[cfg(test)]
mod tests {
    use cluster_registry::{name::NodeName, resource::ResourceId};

    use super::*;

    #[test]
    fn ranges_that_overlap_or_run_backwards_are_malformed() {
        let west = ClusterName::parse("west").unwrap();
        let range = |from: &str, until: &str| {
            let key = |name: &str| {
                let id = NodeName::parse(name).ok().map(ResourceId::Node);
                id.map(|id| Key {
                    cluster: west.clone(),
                    id,
                })
            };
            let (from, until) = (key(from), key(until));
            encode_range(&KeyRange { from, until }, &west)
        };
        let is_well = |ranges: &[wire::Range]| decode_ranges(ranges.to_vec(), &west).is_ok();

        assert!(is_well(&[]));
        assert!(is_well(&[range("", "")]));
        assert!(is_well(&[range("", "b"), range("b", "c"), range("d", "")]));

        assert!(!is_well(&[range("", ""), range("", "")]));
        assert!(!is_well(&[range("", "c"), range("b", "d")]));
        assert!(!is_well(&[range("c", "d"), range("a", "b")]));
        assert!(!is_well(&[range("a", ""), range("b", "c")]));
        assert!(!is_well(&[range("b", "b")]));
        assert!(!is_well(&[range("c", "b")]));
    }
}
