//! Decides which of a peer's addresses to dial and when: raced for the first session, then one after the other for more.
//!
//! As in RFC 8305 the families alternate, and an attempt that is slow to come up does not hold up the next for longer than
//! [`ATTEMPT_DELAY`]. Since all replicas of a peer are wanted, no attempt is given up because another was faster.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{backoff::Backoff, limits::MAX_REPLICAS};

/// How long an attempt has before the next address is dialled beside it (RFC 8305, 5: 250 ms).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// When an address that led to a process which has a session already is dialled again: what is in front of the replicas may
/// lead elsewhere then. A handshake in this time costs nothing.
const DUPLICATE_RETRY: Duration = Duration::from_secs(10);

/// How long addresses count before they are looked for anew though nothing has ended: a name may have got more of them.
const SEARCH_INTERVAL: Duration = Duration::from_secs(10);

/// What the caller must now do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Find the addresses of a place, and hand them to [`Dialling::handle_resolved`].
    Resolve(usize),
    /// Dial an address; [`Dialling::handle_ended`] must follow.
    Dial(SocketAddr),
}

/// How an attempt, or the session that it led to, has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was no session.
    Failed,
    /// There was one, and it came up at this time.
    WasUp(Instant),
    /// There was one that was not needed, as its process has another.
    Redundant,
}

/// The places of one peer, with the addresses that each has.
///
/// After each call, [`Self::poll_output`] until it is empty, then wait until [`Self::poll_timeout`] at the longest and call
/// `handle_timeout`, which alone produces outputs.
#[derive(Debug)]
pub struct Dialling {
    /// By place; kept where a name is not found any more, since it may be there all the same.
    addresses: Vec<Vec<SocketAddr>>,
    /// The places whose addresses are being looked for.
    resolving: BTreeSet<usize>,
    /// Whether an attempt or a session has ended since addresses were looked for: the peer may be elsewhere.
    is_stale: bool,
    targets: BTreeMap<SocketAddr, Target>,
    /// How often places are looked for that are not found.
    searches: Backoff,
    /// When addresses are looked for at the latest.
    next_search: Instant,
    last_start: Option<Instant>,
    backoff: Backoff,
    outputs: VecDeque<Output>,
}

/// An address.
#[derive(Debug)]
struct Target {
    state: State,
    backoff: Backoff,
    /// Since when there was no session; `None` before it is first dialled, and while there is one.
    absent_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be dialled at this time at the soonest.
    Idle { due: Instant, is_redundant: bool },
    /// Dialled, and no session yet.
    Dialled { started: Instant },
    /// Has a session.
    Up { started: Instant },
}

impl State {
    fn due(self) -> Option<Instant> {
        match self {
            Self::Idle { due, .. } => Some(due),
            Self::Dialled { .. } | Self::Up { .. } => None,
        }
    }
}

impl Dialling {
    /// A number of places, none of which was looked for; each address is retried by its own copy of the backoff.
    pub fn new(places: usize, backoff: Backoff, now: Instant) -> Self {
        Self {
            addresses: vec![Vec::new(); places],
            resolving: BTreeSet::new(),
            is_stale: false,
            targets: BTreeMap::new(),
            searches: backoff.clone(),
            next_search: now,
            last_start: None,
            backoff,
            outputs: VecDeque::new(),
        }
    }

    /// A place has these addresses; `None` when it was not found.
    pub fn handle_resolved(&mut self, place: usize, found: Option<Vec<SocketAddr>>, now: Instant) {
        self.resolving.remove(&place);
        match (self.addresses.get_mut(place), found) {
            (Some(addresses), Some(found)) if !found.is_empty() => *addresses = found,
            (Some(_), Some(_) | None) => {
                let again = now + self.searches.next_delay();
                self.next_search = self.next_search.min(again);
            }
            (None, _) => return,
        }
        let known: BTreeSet<_> = self.addresses.iter().flatten().copied().collect();
        self.targets
            .retain(|address, target| known.contains(address) || target.state.due().is_none());
        for address in known {
            self.targets.entry(address).or_insert_with(|| Target {
                state: State::Idle {
                    due: now,
                    is_redundant: false,
                },
                backoff: self.backoff.clone(),
                absent_since: None,
            });
        }
    }

    /// An attempt led to a session, which both sides have accepted.
    pub fn handle_up(&mut self, address: SocketAddr) {
        if let Some(target) = self.targets.get_mut(&address)
            && let State::Dialled { started } = target.state
        {
            target.state = State::Up { started };
            target.absent_since = None;
        }
    }

    /// An attempt has ended, or the session that it led to.
    pub fn handle_ended(&mut self, address: SocketAddr, outcome: Outcome, now: Instant) {
        self.is_stale = true;
        let Some(target) = self.targets.get_mut(&address) else {
            return;
        };
        let (State::Dialled { started } | State::Up { started }) = target.state else {
            return;
        };
        let due = match outcome {
            Outcome::Failed => target.backoff.next_start(started, None, now),
            Outcome::WasUp(since) => target.backoff.next_start(started, Some(since), now),
            Outcome::Redundant => now + DUPLICATE_RETRY,
        };
        let is_redundant = outcome == Outcome::Redundant;
        target.absent_since.get_or_insert(now);
        target.state = State::Idle { due, is_redundant };
        if matches!(outcome, Outcome::WasUp(_)) {
            self.need_all(now);
        }
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.search_at().is_some_and(|at| at <= now) {
            self.is_stale = false;
            self.next_search = now + SEARCH_INTERVAL;
            self.resolving = (0..self.addresses.len()).collect();
            let resolve = self.resolving.iter().copied().map(Output::Resolve);
            self.outputs.extend(resolve);
        }
        while let Some((due, address)) = self.next_target()
            && due <= now
        {
            if let Some(target) = self.targets.get_mut(&address) {
                target.state = State::Dialled { started: now };
                target.absent_since.get_or_insert(now);
            }
            self.last_start = Some(now);
            self.outputs.push_back(Output::Dial(address));
        }
    }

    /// When [`Self::handle_timeout`] must next be called; `None` when only an answer or an end can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let target = self.next_target().map(|(due, _)| due);
        self.search_at().into_iter().chain(target).min()
    }

    /// Since when there was no session by an address; `None` when there is one, or the address is not dialled.
    pub fn absent_since(&self, address: SocketAddr) -> Option<Instant> {
        self.targets.get(&address)?.absent_since
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What led to a process that had another session may be the only way to it now.
    fn need_all(&mut self, now: Instant) {
        for target in self.targets.values_mut() {
            if let State::Idle {
                due,
                is_redundant: is_redundant @ true,
            } = &mut target.state
            {
                *due = now;
                *is_redundant = false;
            }
        }
    }

    fn is_full(&self) -> bool {
        let is_up = |target: &&Target| matches!(target.state, State::Up { .. });
        self.targets.values().filter(is_up).count() >= MAX_REPLICAS
    }

    /// When addresses are looked for anew: before the next is dialled, if something has ended.
    fn search_at(&self) -> Option<Instant> {
        if self.is_full() || !self.resolving.is_empty() {
            return None;
        }
        let due = self.targets.values().filter_map(|t| t.state.due()).min();
        let due = due.filter(|_| self.is_stale);
        Some(due.map_or(self.next_search, |due| due.min(self.next_search)))
    }

    /// The address to dial next, and when: the one that is due first, and of several the first in order.
    fn next_target(&self) -> Option<(Instant, SocketAddr)> {
        if self.is_full() {
            return None;
        }
        let is_pending = |target: &Target| matches!(target.state, State::Dialled { .. });
        let pace = self
            .last_start
            .filter(|_| self.targets.values().any(is_pending));
        let pace = pace.map(|at| at + ATTEMPT_DELAY);
        let found = self.addresses.iter().enumerate();
        let found = found.filter(|(place, _)| !self.resolving.contains(place));
        let order = interleaved(found.flat_map(|(_, addresses)| addresses.iter().copied()));
        let due = |address: SocketAddr| Some((self.targets.get(&address)?.state.due()?, address));
        let (due, address) = order
            .into_iter()
            .filter_map(due)
            .min_by_key(|(due, _)| *due)?;
        Some((pace.map_or(due, |pace| pace.max(due)), address))
    }
}

/// The addresses with their families taking turns, beginning with that of the first.
fn interleaved(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<SocketAddr> = addresses.collect();
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first);
    let mut order = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests;
