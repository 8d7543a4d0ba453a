//! Datagrams on their way to peers, in the order in which they were encrypted, and how they are sent together.

use std::{mem, net::SocketAddr, ops::Range};

use gotatun::packet::Packet;

/// The most datagrams that wait; a socket that takes none for that long is one that a peer can't be reached through.
const MAX_WAITING: usize = 4096;

/// The most datagrams in one that the kernel is to cut (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 64;

/// The most bytes in one that the kernel is to cut: what a UDP datagram over IPv4 can hold.
const MAX_BYTES: usize = 65_507;

/// The datagrams.
#[derive(Default)]
pub(super) struct Outbox {
    datagrams: Vec<(Packet, SocketAddr)>,
    /// Those before it are sent.
    sent: usize,
}

/// Datagrams that one system call may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    /// To one address and of one size, but for the last, which may be shorter: the kernel cuts them.
    Segments(Range<usize>),
    /// To any addresses, of any sizes.
    Singles(Range<usize>),
}

impl Outbox {
    /// Adds a datagram; with too many waiting it is dropped, as a full queue in a network would do.
    pub(super) fn push(&mut self, datagram: Packet, to: SocketAddr) {
        if self.len() < MAX_WAITING {
            self.datagrams.push((datagram, to));
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.datagrams.len() - self.sent
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The datagrams of a group.
    pub(super) fn get(&self, range: Range<usize>) -> &[(Packet, SocketAddr)] {
        self.datagrams.get(range).unwrap_or_default()
    }

    /// Notes that the next ones are sent or given up.
    pub(super) fn pass(&mut self, count: usize) {
        self.sent += count;
        if self.is_empty() {
            self.sent = 0;
            self.datagrams.clear();
            // A burst's memory is not kept for ever.
            if self.datagrams.capacity() > MAX_WAITING / 4 {
                mem::take(&mut self.datagrams);
            }
        }
    }

    /// The next group to send, if any waits.
    pub(super) fn next_group(&self) -> Option<Group> {
        let waiting = self.get(self.sent..self.datagrams.len());
        let first = segments(waiting)?;
        if first > 1 {
            return Some(Group::Segments(self.sent..self.sent + first));
        }
        let mut count = 1;
        while count < MAX_SEGMENTS
            && waiting
                .get(count..)
                .and_then(segments)
                .is_some_and(|next| next == 1)
        {
            count += 1;
        }
        Some(Group::Singles(self.sent..self.sent + count))
    }
}

/// How many of the datagrams the kernel can cut off one; `None` for no datagrams.
fn segments(waiting: &[(Packet, SocketAddr)]) -> Option<usize> {
    let (first, to) = waiting.first()?;
    let size = first.len();
    let mut bytes = size;
    let mut count = 1;
    for (datagram, next_to) in waiting.iter().take(MAX_SEGMENTS).skip(1) {
        let len = datagram.len();
        if next_to != to || len > size || bytes + len > MAX_BYTES {
            break;
        }
        bytes += len;
        count += 1;
        if len < size {
            break;
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_of_one_size_to_one_address_go_together_and_a_shorter_one_ends_them() {
        let outbox = outbox(&[(9, 100), (9, 100), (9, 60), (9, 60)]);

        assert_eq!(outbox.next_group(), Some(Group::Segments(0..3)));
    }

    #[test]
    fn a_longer_datagram_or_another_address_begins_a_new_group() {
        let mut outbox = outbox(&[(9, 100), (9, 100), (9, 101), (8, 101), (7, 50), (7, 50)]);

        assert_eq!(outbox.next_group(), Some(Group::Segments(0..2)));
        outbox.pass(2);
        assert_eq!(outbox.next_group(), Some(Group::Singles(2..4)));
        outbox.pass(1);
        assert_eq!(outbox.next_group(), Some(Group::Singles(3..4)));
        outbox.pass(1);
        assert_eq!(outbox.next_group(), Some(Group::Segments(4..6)));
        outbox.pass(2);
        assert_eq!(outbox.next_group(), None);
        assert!(outbox.is_empty());
    }

    #[test]
    fn no_group_is_larger_than_the_kernel_takes() {
        let small = outbox(&[(9, 100); 100]);
        assert_eq!(small.next_group(), Some(Group::Segments(0..64)));

        let large = outbox(&[(9, 1452); 100]);
        assert_eq!(large.next_group(), Some(Group::Segments(0..45)));
    }

    #[test]
    fn what_nobody_takes_is_dropped_in_the_end() {
        let mut outbox = Outbox::default();
        for _ in 0..2 * MAX_WAITING {
            outbox.push(Packet::copy_from(&[0][..]), ([192, 0, 2, 1], 9).into());
        }

        assert_eq!(outbox.len(), MAX_WAITING);
    }

    fn outbox(datagrams: &[(u16, usize)]) -> Outbox {
        let mut outbox = Outbox::default();
        for (port, len) in datagrams {
            let datagram = Packet::copy_from(&vec![0; *len][..]);
            outbox.push(datagram, ([192, 0, 2, 1], *port).into());
        }
        outbox
    }
}
