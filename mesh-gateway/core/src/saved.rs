//! What a gateway keeps over a restart, as bytes: what its nodes know, its links, and how far it has heard each peer.
//!
//! ```text
//!  "isthmus\n" version(4, LE) │ section* │ SHA-256 of all before(32)
//!  section = length(4, LE) message; the first is the head, the last the end
//! ```
//!
//! Updates stand in the order in which they were read from the store, so that a later one of a key counts, and the
//! positions stand behind them: what is saved of a peer is never older than its position. Whatever is not exactly what
//! was written is refused as a whole.

mod links;

use std::collections::BTreeMap;

use cluster_registry::{
    link::LinkSpec,
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    store::{Change, Cursor},
};
use prost::{Message, Oneof};
use sha2::{Digest, Sha256};

use crate::{
    convert::{Origins, decode_position, decode_update, encode_change, encode_position},
    limits::{MAX_UPDATES_PER_FRAME, TARGET_FRAME_BYTES},
    update::Update,
    wire,
};

const MAGIC: [u8; 8] = *b"isthmus\n";

/// The format's version; a newer one may mean anything by the bytes that follow.
const VERSION: u32 = 1;

const PREAMBLE_BYTES: usize = MAGIC.len() + size_of::<u32>();

const CHECKSUM_BYTES: usize = 32;

/// Why bytes are not the saved state of this gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They are something else altogether.
    #[error("it is not a gateway's saved state")]
    NotSavedState,
    /// A newer version wrote them.
    #[error("a newer version wrote it (format {0}; this one knows format {VERSION})")]
    Newer(u32),
    /// They are not what was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Another cluster's gateway wrote them.
    #[error("it is of cluster '{0}'")]
    Foreign(String),
}

impl ReadError {
    /// A short name, such as a file is set aside under.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotSavedState => "unknown",
            Self::Newer(_) => "newer",
            Self::Damaged(_) => "damaged",
            Self::Foreign(_) => "foreign",
        }
    }
}

/// A link, as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedLink {
    /// What was configured.
    pub spec: LinkSpec,
    /// Whether a ClusterLink object asked for it, which is only known again when the source is.
    pub is_object: bool,
    /// Up to where all was taken that the peer said, if that is known.
    pub cursor: Option<Cursor>,
}

/// A gateway's state, as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// Its links.
    pub links: Vec<SavedLink>,
    /// What its nodes knew.
    pub resources: BTreeMap<Key, Resource>,
}

/// Writes a state down, part by part.
#[derive(Debug)]
pub struct Writer {
    cluster: ClusterName,
    hasher: Sha256,
}

impl Writer {
    /// Begins, and returns the first bytes.
    pub fn begin(cluster: ClusterName) -> (Self, Vec<u8>) {
        let mut writer = Self {
            hasher: Sha256::new(),
            cluster,
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        let head = Part::Head(Head {
            cluster: writer.cluster.as_str().to_owned(),
        });
        push(head, &mut bytes);
        writer.hasher.update(&bytes);
        (writer, bytes)
    }

    /// The next bytes, for the next changes of the store; clusters' control states are not kept.
    pub fn page(&mut self, changes: &[Change]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut section = wire::Updates::default();
        let mut length = 0;
        let kept = changes
            .iter()
            .filter(|change| change.key.id != ResourceId::Cluster);
        for change in kept {
            let update = encode_change(change, &self.cluster);
            length += update.encoded_len();
            section.updates.push(update);
            if length >= TARGET_FRAME_BYTES || section.updates.len() == MAX_UPDATES_PER_FRAME {
                length = 0;
                push(Part::Updates(std::mem::take(&mut section)), &mut bytes);
            }
        }
        if !section.updates.is_empty() {
            push(Part::Updates(section), &mut bytes);
        }
        self.hasher.update(&bytes);
        bytes
    }

    /// The last bytes, for the links as they are when the last page is read.
    pub fn end(mut self, links: &[SavedLink]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for link in links {
            let mut saved = links::encode(&link.spec);
            saved.is_object = link.is_object;
            saved.position = link.cursor.map(encode_position);
            push(Part::Link(saved), &mut bytes);
        }
        push(Part::End(End {}), &mut bytes);
        self.hasher.update(&bytes);
        bytes.extend(self.hasher.finalize());
        bytes
    }
}

/// Reads what [`Writer`] wrote for a cluster.
pub fn read(bytes: &[u8], cluster: &ClusterName) -> Result<Saved, ReadError> {
    let mut sections = check(bytes)?;
    match next(&mut sections)? {
        Some(Part::Head(head)) if head.cluster == cluster.as_str() => {}
        Some(Part::Head(head)) => return Err(ReadError::Foreign(head.cluster)),
        Some(Part::Updates(_) | Part::Link(_) | Part::End(_)) | None => {
            return Err(ReadError::Damaged("it does not begin with a head"));
        }
    }
    let mut saved = Saved::default();
    let mut is_whole = true;
    loop {
        match next(&mut sections)? {
            Some(Part::Updates(section)) => {
                for update in section.updates {
                    let taken = decode_update(update, cluster, Origins::Any);
                    is_whole &= taken.is_ok();
                    taken.into_iter().for_each(|update| saved.take(update));
                }
            }
            Some(Part::Link(link)) => saved.links.push(link_of(&link)?),
            Some(Part::End(End {})) if sections.is_empty() => break,
            Some(Part::Head(_) | Part::End(_)) => {
                return Err(ReadError::Damaged("a section is out of place"));
            }
            // A section that a later version of the same format added.
            None => {}
        }
    }
    if !is_whole {
        // Peers must say again what this version could not read, so all is asked for.
        saved.links.iter_mut().for_each(|link| link.cursor = None);
    }
    Ok(saved)
}

impl Saved {
    fn take(&mut self, update: Update) {
        match update.value {
            Some(value) => self.resources.insert(update.key, value),
            None => self.resources.remove(&update.key),
        };
    }
}

/// Checks that the bytes are what was written, and returns the sections.
fn check(bytes: &[u8]) -> Result<&[u8], ReadError> {
    let (preamble, rest) = bytes
        .split_first_chunk::<PREAMBLE_BYTES>()
        .ok_or(ReadError::NotSavedState)?;
    let [a, b, c, d, e, f, g, h, v0, v1, v2, v3] = *preamble;
    if [a, b, c, d, e, f, g, h] != MAGIC {
        return Err(ReadError::NotSavedState);
    }
    let version = u32::from_le_bytes([v0, v1, v2, v3]);
    if version > VERSION {
        return Err(ReadError::Newer(version));
    }
    let (sections, checksum) = rest
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(ReadError::Damaged("it is cut off"))?;
    let mut hasher = Sha256::new_with_prefix(preamble);
    hasher.update(sections);
    if hasher.finalize().as_slice() != checksum.as_slice() {
        return Err(ReadError::Damaged("its checksum is wrong"));
    }
    Ok(sections)
}

fn next(sections: &mut &[u8]) -> Result<Option<Part>, ReadError> {
    const CUT_OFF: ReadError = ReadError::Damaged("it ends within a section");
    let (length, rest) = sections.split_first_chunk::<4>().ok_or(CUT_OFF)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (section, rest) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
    *sections = rest;
    let section = Section::decode(section)
        .map_err(|_malformed| ReadError::Damaged("a section is not a message"))?;
    Ok(section.part)
}

fn link_of(link: &Link) -> Result<SavedLink, ReadError> {
    let spec = links::decode(link).ok_or(ReadError::Damaged("a link is malformed"))?;
    Ok(SavedLink {
        spec,
        is_object: link.is_object,
        cursor: link.position.as_ref().map(decode_position),
    })
}

fn push(part: Part, bytes: &mut Vec<u8>) {
    let section = Section { part: Some(part) };
    let length = section.encoded_len();
    let prefix = u32::try_from(length).expect("a section is far shorter than 4 GiB");
    bytes.extend(prefix.to_le_bytes());
    section.encode_raw(bytes);
}

#[derive(Clone, PartialEq, Message)]
struct Section {
    #[prost(oneof = "Part", tags = "1, 2, 3, 4")]
    part: Option<Part>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Part {
    #[prost(message, tag = "1")]
    Head(Head),
    #[prost(message, tag = "2")]
    Updates(wire::Updates),
    #[prost(message, tag = "3")]
    Link(Link),
    #[prost(message, tag = "4")]
    End(End),
}

#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(string, tag = "1")]
    cluster: String,
}

#[derive(Clone, PartialEq, Message)]
struct End {}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(string, tag = "1")]
    cluster: String,
    #[prost(string, repeated, tag = "2")]
    addresses: Vec<String>,
    #[prost(uint32, tag = "3")]
    dial: u32,
    #[prost(message, optional, tag = "4")]
    namespaces: Option<Names>,
    #[prost(string, repeated, tag = "5")]
    cidrs: Vec<String>,
    #[prost(message, optional, tag = "6")]
    export_to: Option<Names>,
    #[prost(uint64, tag = "7")]
    max_services: u64,
    #[prost(uint64, tag = "8")]
    max_endpoints: u64,
    #[prost(uint64, tag = "9")]
    max_nodes: u64,
    #[prost(bool, tag = "10")]
    trust_timestamps: bool,
    #[prost(bool, tag = "11")]
    is_object: bool,
    #[prost(message, optional, tag = "12")]
    position: Option<wire::Position>,
    #[prost(uint32, tag = "13")]
    max_updates: u32,
}

/// The namespaces of a list that may be empty; without one, all are meant.
#[derive(Clone, PartialEq, Message)]
struct Names {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
}

#[cfg(test)]
mod tests;
