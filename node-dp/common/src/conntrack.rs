//! The states of a flow and how long each may be silent.
//!
//! ```text
//!            SYN+ACK                ACK, data                FIN                 FIN of the other
//!  New ──────────────► SynReceived ──────────► Established ──────► HalfClosed ──────────────────► Closing
//!   └ UDP, and TCP taken up midway: a reply ─────►┘      any state: RST ► Reset; Closing, Reset: SYN ► a new flow
//! ```

/// TCP's flags, as the byte of its header has them; a datagram has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// Those of a datagram.
    pub const NONE: Self = Self(0);

    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// A connection begins.
    pub const SYN: u8 = 0x02;
    /// The connection is void.
    pub const RST: u8 = 0x04;
    /// Something was received.
    pub const ACK: u8 = 0x10;

    /// Whether all of `flags` are set.
    #[inline(always)]
    pub fn has(self, flags: u8) -> bool {
        self.0 & flags == flags
    }

    /// Whether the segment neither begins nor ends a connection or one of its halves; a datagram does not.
    #[inline(always)]
    pub fn is_between(self) -> bool {
        self.0 & (Self::SYN | Self::FIN | Self::RST) == 0
    }

    /// Whether a client asks for a new connection.
    #[inline(always)]
    pub fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST) == Self::SYN
    }
}

/// Who sent a packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The client.
    Original,
    /// The backend.
    Reply,
}

/// How far a flow has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FlowState {
    /// Only the client has spoken.
    New = 0,
    /// The backend has accepted the connection; TCP only.
    SynReceived = 1,
    /// Both have spoken.
    Established = 2,
    /// The client has sent its last data; TCP only, like all that follow.
    HalfClosedByClient = 3,
    /// The backend has sent its last data.
    HalfClosedByBackend = 4,
    /// Both have.
    Closing = 5,
    /// One of them has given the connection up.
    Reset = 6,
}

impl FlowState {
    /// All states, in order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::New,
        Self::SynReceived,
        Self::Established,
        Self::HalfClosedByClient,
        Self::HalfClosedByBackend,
        Self::Closing,
        Self::Reset,
    ];

    /// The state that a number from a map stands for; an unknown one counts as the shortest-lived.
    #[inline(always)]
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::New,
            1 => Self::SynReceived,
            2 => Self::Established,
            3 => Self::HalfClosedByClient,
            4 => Self::HalfClosedByBackend,
            5 => Self::Closing,
            _ => Self::Reset,
        }
    }

    /// The state in which a flow begins whose first packet has these flags.
    ///
    /// A connection may be met midway, when another node has served it until now or the table was lost.
    #[inline(always)]
    pub fn first(flags: TcpFlags) -> Self {
        if flags == TcpFlags::NONE || flags.opens() {
            return Self::New;
        }
        Self::Established
    }

    /// The state after a packet of the given direction and flags.
    #[inline(always)]
    #[must_use]
    pub fn next(self, direction: Direction, flags: TcpFlags) -> Self {
        if flags.has(TcpFlags::RST) {
            return Self::Reset;
        }
        let closes = flags.has(TcpFlags::FIN);
        match (self, direction) {
            (Self::New, Direction::Reply) if flags.has(TcpFlags::SYN) => Self::SynReceived,
            (Self::New | Self::SynReceived | Self::Established, Direction::Original) if closes => {
                Self::HalfClosedByClient
            }
            (Self::New | Self::SynReceived | Self::Established, Direction::Reply) if closes => {
                Self::HalfClosedByBackend
            }
            (Self::New, Direction::Reply) => Self::Established,
            (Self::SynReceived, Direction::Original) if !flags.has(TcpFlags::SYN) => {
                Self::Established
            }
            (Self::HalfClosedByClient, Direction::Reply)
            | (Self::HalfClosedByBackend, Direction::Original)
                if closes =>
            {
                Self::Closing
            }
            (
                Self::New
                | Self::SynReceived
                | Self::Established
                | Self::HalfClosedByClient
                | Self::HalfClosedByBackend
                | Self::Closing
                | Self::Reset,
                Direction::Original | Direction::Reply,
            ) => self,
        }
    }

    /// Whether a client that asks for a new connection on this flow's tuple gets a new flow.
    #[inline(always)]
    pub fn is_over(self) -> bool {
        match self {
            Self::Closing | Self::Reset => true,
            Self::New
            | Self::SynReceived
            | Self::Established
            | Self::HalfClosedByClient
            | Self::HalfClosedByBackend => false,
        }
    }

    /// Whether both have spoken and the next packet changes nothing, unless it begins or ends something.
    #[inline(always)]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Established | Self::HalfClosedByClient | Self::HalfClosedByBackend => true,
            Self::New | Self::SynReceived | Self::Closing | Self::Reset => false,
        }
    }

    /// For how many seconds a TCP flow may be silent.
    ///
    /// The kernel's own conntrack, but for established and half-closed flows: there it is what kube-proxy sets, and well
    /// above the 2 h 4 min of RFC 5382. A closed flow is kept as long as late segments may come (RFC 9293: twice their
    /// life, of which Linux allows 60 s in all).
    pub fn tcp_timeout(self) -> u32 {
        match self {
            Self::New | Self::SynReceived | Self::Closing => 60,
            Self::Established => 24 * 60 * 60,
            Self::HalfClosedByClient | Self::HalfClosedByBackend => 60 * 60,
            Self::Reset => 10,
        }
    }

    /// For how many seconds a flow of datagrams may be silent: the kernel's 30 s for a single one; where both have
    /// spoken the two minutes that RFC 4787 demands.
    pub fn udp_timeout(self) -> u32 {
        match self {
            Self::New => 30,
            Self::SynReceived
            | Self::Established
            | Self::HalfClosedByClient
            | Self::HalfClosedByBackend
            | Self::Closing
            | Self::Reset => 120,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Direction::{Original, Reply},
        *,
    };

    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;
    const FIN: u8 = TcpFlags::FIN;
    const RST: u8 = TcpFlags::RST;

    #[test]
    fn a_connection_lives_from_handshake_to_both_fins() {
        let states = walk(&[
            (Original, SYN),
            (Reply, SYN | ACK),
            (Original, ACK),
            (Reply, ACK),
            (Original, FIN | ACK),
            (Reply, ACK),
            (Reply, FIN | ACK),
            (Original, ACK),
        ]);

        assert_eq!(
            states,
            [
                FlowState::New,
                FlowState::SynReceived,
                FlowState::Established,
                FlowState::Established,
                FlowState::HalfClosedByClient,
                FlowState::HalfClosedByClient,
                FlowState::Closing,
                FlowState::Closing,
            ]
        );
    }

    #[test]
    fn a_second_fin_of_the_same_side_closes_nothing() {
        let states = walk(&[(Original, ACK), (Reply, FIN | ACK), (Reply, FIN | ACK)]);

        assert_eq!(states.last(), Some(&FlowState::HalfClosedByBackend));
    }

    #[test]
    fn a_retransmitted_syn_does_not_establish() {
        let states = walk(&[(Original, SYN), (Reply, SYN | ACK), (Original, SYN)]);

        assert_eq!(states.last(), Some(&FlowState::SynReceived));
    }

    #[test]
    fn a_connection_met_midway_is_established() {
        assert_eq!(walk(&[(Original, ACK)]), [FlowState::Established]);
    }

    #[test]
    fn datagrams_live_longer_once_answered() {
        let asked = FlowState::first(TcpFlags::NONE);
        let answered = asked.next(Reply, TcpFlags::NONE);

        assert_eq!(asked.next(Original, TcpFlags::NONE), asked);
        assert_eq!(answered, FlowState::Established);
        assert!(answered.udp_timeout() > asked.udp_timeout());
    }

    #[test]
    fn a_segment_in_between_leaves_a_settled_flow_as_it_is() {
        let between = (0..=u8::MAX)
            .map(TcpFlags)
            .filter(|flags| flags.is_between());
        for flags in between {
            for state in FlowState::ALL
                .into_iter()
                .filter(|state| state.is_settled())
            {
                assert_eq!(state.next(Original, flags), state);
                assert_eq!(state.next(Reply, flags), state);
            }
        }
    }

    #[test]
    fn states_are_numbered_without_gaps() {
        for (state, number) in FlowState::ALL.into_iter().zip(0..) {
            assert_eq!(FlowState::from_number(number), state);
        }
    }

    proptest! {
        #[test]
        fn a_reset_ends_every_connection_and_nothing_revives_it(
            packets in prop::collection::vec((any::<bool>(), any::<u8>()), 0..20),
            late in prop::collection::vec((any::<bool>(), any::<u8>()), 0..20),
        ) {
            let state = packets.into_iter().fold(FlowState::New, step);
            let reset = state.next(Original, TcpFlags(RST));

            prop_assert_eq!(reset, FlowState::Reset);
            prop_assert_eq!(late.into_iter().fold(reset, step), FlowState::Reset);
        }
    }

    fn step(state: FlowState, (is_reply, flags): (bool, u8)) -> FlowState {
        let direction = if is_reply { Reply } else { Original };
        state.next(direction, TcpFlags(flags))
    }

    fn walk(packets: &[(Direction, u8)]) -> Vec<FlowState> {
        let mut state = FlowState::first(TcpFlags(packets[0].1));
        let rest = packets[1..].iter().map(|(direction, flags)| {
            state = state.next(*direction, TcpFlags(*flags));
            state
        });
        let first = FlowState::first(TcpFlags(packets[0].1));
        std::iter::once(first).chain(rest).collect()
    }
}
