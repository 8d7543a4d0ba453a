//! Why a session ends and why an update is refused: the facts that logs, metrics and `status` show.

use std::fmt;

/// Why one side ends a session, as it tells the other in the QUIC application close code.
///
/// The numbers are part of the protocol and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GoodbyeReason {
    /// The sender stops or restarts.
    ShuttingDown,
    /// The sender has a session with a newer life of the receiver, which has taken its place.
    Replaced,
    /// The receiver's identity may not have a session here.
    NotAuthorised,
    /// The sender heard nothing for its detection time.
    Silent,
    /// The receiver broke the protocol.
    ProtocolViolation,
    /// The receiver requires a feature that the sender lacks.
    UnsupportedFeature,
    /// The session did not come up in time.
    Timeout,
    /// The sender's link to the receiver was changed: dialling anew finds the new one.
    LinkChanged,
    /// The sender has an older session with the same process, by another address.
    Duplicate,
    /// The sender has a session with a newer life of the same replica, and takes no older one.
    OlderIncarnation,
    /// The sender has sessions with as many replicas of the receiver's cluster as it holds.
    TooManyReplicas,
    /// A code that this version does not know.
    Unknown(u32),
}

impl GoodbyeReason {
    /// The application close code.
    pub fn code(self) -> u32 {
        match self {
            Self::ShuttingDown => 1,
            Self::Replaced => 2,
            Self::NotAuthorised => 3,
            Self::Silent => 4,
            Self::ProtocolViolation => 5,
            Self::UnsupportedFeature => 6,
            Self::Timeout => 7,
            Self::LinkChanged => 8,
            Self::Duplicate => 9,
            Self::OlderIncarnation => 10,
            Self::TooManyReplicas => 11,
            Self::Unknown(code) => code,
        }
    }

    /// The reason behind an application close code.
    pub fn from_code(code: u32) -> Self {
        match code {
            1 => Self::ShuttingDown,
            2 => Self::Replaced,
            3 => Self::NotAuthorised,
            4 => Self::Silent,
            5 => Self::ProtocolViolation,
            6 => Self::UnsupportedFeature,
            7 => Self::Timeout,
            8 => Self::LinkChanged,
            9 => Self::Duplicate,
            10 => Self::OlderIncarnation,
            11 => Self::TooManyReplicas,
            other => Self::Unknown(other),
        }
    }

    /// A metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ShuttingDown => "shutting_down",
            Self::Replaced => "replaced",
            Self::NotAuthorised => "not_authorised",
            Self::Silent => "silent",
            Self::ProtocolViolation => "protocol_violation",
            Self::UnsupportedFeature => "unsupported_feature",
            Self::Timeout => "timeout",
            Self::LinkChanged => "link_changed",
            Self::Duplicate => "duplicate",
            Self::OlderIncarnation => "older_incarnation",
            Self::TooManyReplicas => "too_many_replicas",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for GoodbyeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(code) => write!(f, "unknown ({code})"),
            known @ (Self::ShuttingDown
            | Self::Replaced
            | Self::NotAuthorised
            | Self::Silent
            | Self::ProtocolViolation
            | Self::UnsupportedFeature
            | Self::Timeout
            | Self::LinkChanged
            | Self::Duplicate
            | Self::OlderIncarnation
            | Self::TooManyReplicas) => f.write_str(&known.label().replace('_', " ")),
        }
    }
}

/// Why a session is down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// Nothing was heard from the peer for the detection time.
    #[error("the peer fell silent")]
    Silent,
    /// The transport lost the connection, and says why.
    #[error("the connection was lost: {0}")]
    ConnectionLost(String),
    /// The peer ended the session.
    #[error("the peer said goodbye: {0}")]
    PeerSaidGoodbye(GoodbyeReason),
    /// This side ended the session.
    #[error("ended here: {0}")]
    EndedHere(GoodbyeReason),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    ProtocolViolation(Violation),
    /// The peer requires a feature that this side lacks.
    #[error("the peer requires the feature '{0}'")]
    UnsupportedFeature(String),
    /// The session did not come up in time.
    #[error("the session did not come up in time")]
    Timeout,
}

impl From<Violation> for DownReason {
    fn from(violation: Violation) -> Self {
        Self::ProtocolViolation(violation)
    }
}

impl DownReason {
    /// A metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::ConnectionLost(_) => "connection_lost",
            Self::PeerSaidGoodbye(_) => "peer_said_goodbye",
            Self::EndedHere(_) => "ended_here",
            Self::ProtocolViolation(_) => "protocol_violation",
            Self::UnsupportedFeature(_) => "unsupported_feature",
            Self::Timeout => "timeout",
        }
    }
}

/// What the peer did that no honest peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame announced more bytes than any frame may have.
    #[error("a frame of {length} bytes, more than {max}")]
    FrameTooLong {
        /// What it announced.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// A frame is not a message of the protocol.
    #[error("a frame that is not a message")]
    MalformedFrame,
    /// A second HELLO.
    #[error("a second HELLO")]
    SecondHello,
    /// A WELCOME without having said HELLO, or a second one.
    #[error("an unexpected WELCOME")]
    UnexpectedWelcome,
    /// A SUBSCRIBE or SUBSCRIBED that nothing led to.
    #[error("an unexpected subscription")]
    UnexpectedSubscription,
    /// Digests or ranges that nobody asked for, or no finer than the ones before.
    #[error("digests out of place")]
    MisplacedDigests,
    /// A range of keys or a digest that is not one.
    #[error("a malformed range")]
    MalformedRange,
    /// More ranges or parts of ranges than are ever said at once.
    #[error("too many ranges")]
    TooManyRanges,
    /// A HELLO whose values are out of range.
    #[error("a HELLO out of range")]
    BadHello,
    /// A frame on the wrong stream.
    #[error("a frame on the wrong stream")]
    WrongChannel,
    /// Anything else before HELLO.
    #[error("a message before HELLO")]
    HelloMissing,
    /// State before the session is up.
    #[error("state before the session is up")]
    EarlyState,
    /// The end of a snapshot that was never begun.
    #[error("the end of a snapshot that was never begun")]
    SnapshotNotBegun,
    /// Updates that neither continue what was resumed nor belong to a snapshot.
    #[error("updates without a snapshot")]
    NothingToUpdate,
    /// More updates in a frame than allowed.
    #[error("too many updates in a frame")]
    TooManyUpdates,
    /// Urgent updates of a batch that has ended.
    #[error("urgent updates out of place")]
    MisplacedUpdates,
    /// A packed frame that does not unpack, or to too much.
    #[error("a packed frame that does not unpack within its limits")]
    BadPacking,
    /// Progress without a position, or within a snapshot.
    #[error("progress out of place")]
    MisplacedProgress,
    /// A stream that the protocol does not have, or the end of one that lasts as long as the session.
    #[error("an unexpected stream or end of one")]
    BadStream,
}

/// Why one update of a peer is not taken; the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// It is of a kind that this version does not know.
    #[error("an unknown kind of resource")]
    UnknownKind,
    /// Its value is not of the kind that its key names.
    #[error("the value is not of the key's kind")]
    WrongKind,
    /// It speaks for another cluster than the one the certificate names.
    #[error("it speaks for another cluster")]
    ForeignCluster,
    /// A name is not a valid name.
    #[error("a malformed name")]
    MalformedName,
    /// An address or range is not a valid one, or not in its one canonical form.
    #[error("a malformed address")]
    MalformedAddress,
    /// A port, protocol, key or other value is out of its range.
    #[error("a value out of range")]
    OutOfRange,
    /// A list has more entries than allowed.
    #[error("too many entries in a list")]
    TooMany,
}

impl Refusal {
    /// A metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownKind => "unknown_kind",
            Self::WrongKind => "wrong_kind",
            Self::ForeignCluster => "foreign_cluster",
            Self::MalformedName => "malformed_name",
            Self::MalformedAddress => "malformed_address",
            Self::OutOfRange => "out_of_range",
            Self::TooMany => "too_many",
        }
    }
}
