//! Conntrack: how the packets of a translated flow are rewritten at each hook, key and value of `FLOWS`.
//!
//! Ingress turns destinations and egress turns sources, so that the kernel's routing between the two never meets a packet
//! from one of the node's own addresses. Ports are all turned at ingress on the way there, and at egress on the way back.
//! What the kernel routes in between, `client:s > backend:b`, is therefore unique to the flow:
//!
//! ```text
//!                  ingress                      egress, masqueraded flows only
//!  client:c > frontend:f   =>  client:s > backend:b   =>   node:s > backend:b
//!  client:c < frontend:f   <=  client:s < backend:b   <=   node:s < backend:b
//!                  egress                       ingress, masqueraded flows only
//! ```
//!
//! The frontend is part of the first key and `s` is taken only where no other flow has it, so two frontends that share a
//! backend never share an entry, even for a client that uses the same port for both. What a client sends to a backend itself
//! has no entry: for one that may do that, `s` is of a range that it does not use.

use crate::{
    address::{Address, Port},
    conntrack::FlowState,
    next_hop::NextHop,
    tuple::Tuple,
};

/// Where on a device a program meets a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Hook {
    /// It comes from the device.
    Ingress = 0,
    /// It goes out through the device.
    Egress = 1,
}

/// Which packets an entry rewrites: those of one tuple at one hook.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    tuple: Tuple,
    protocol: u8,
    hook: u8,
    _pad: [u8; 2],
}

const _: () = assert!(size_of::<FlowKey>() == 40);

impl FlowKey {
    /// The key of packets as a hook meets them.
    #[inline(always)]
    pub fn new(tuple: Tuple, protocol: u8, hook: Hook) -> Self {
        Self {
            tuple,
            protocol,
            hook: hook as u8,
            _pad: [0; 2],
        }
    }

    /// The packets' tuple.
    #[inline(always)]
    pub fn tuple(&self) -> Tuple {
        self.tuple
    }

    /// The protocol's number in an IP header.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }
}

/// What an entry is to its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// The client's packets as they come in; holds the flow's state.
    Origin = 0,
    /// The replies as they go out to the client.
    Reply = 1,
    /// One of the two that masquerade.
    Masquerade = 2,
}

/// How packets are rewritten.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowValue {
    tuple: Tuple,
    masquerade: Address,
    last_seen: u32,
    state: u8,
    role: u8,
    _pad: [u8; 2],
    hop: NextHop,
}

const _: () = assert!(size_of::<FlowValue>() == 88);

impl FlowValue {
    /// What the packets become.
    #[inline(always)]
    pub fn tuple(&self) -> Tuple {
        self.tuple
    }

    /// The same where it stands, which is never written in place.
    #[inline(always)]
    pub fn tuple_in_place(&self) -> &Tuple {
        &self.tuple
    }

    /// What the client's packets are on the wire to the backend; of an origin only.
    #[inline(always)]
    pub fn sent(&self) -> Tuple {
        let mut sent = self.tuple;
        if self.masquerade != Address::default() {
            sent.source = self.masquerade;
        }
        sent
    }

    /// What the entry is to its flow; `None` if the map holds a number this version does not know.
    #[inline(always)]
    pub fn role(&self) -> Option<Role> {
        match self.role {
            0 => Some(Role::Origin),
            1 => Some(Role::Reply),
            2 => Some(Role::Masquerade),
            _ => None,
        }
    }

    /// When the flow's last packet passed, in seconds since boot; of an origin only.
    #[inline(always)]
    pub fn last_seen(&self) -> u32 {
        self.last_seen
    }

    /// Its state; of an origin only.
    #[inline(always)]
    pub fn state(&self) -> FlowState {
        FlowState::from_number(self.state)
    }

    /// Where the fast path sends the packets; of an origin and a reply only.
    #[inline(always)]
    pub fn hop(&self) -> &NextHop {
        &self.hop
    }

    /// The same, to be replaced.
    #[inline(always)]
    pub fn hop_mut(&mut self) -> &mut NextHop {
        &mut self.hop
    }

    /// Notes a packet of the flow; writes only what changes, as all CPUs read these bytes.
    #[inline(always)]
    pub fn note(&mut self, state: FlowState, now: u32) {
        if self.state != state as u8 {
            self.state = state as u8;
        }
        if self.last_seen != now {
            self.last_seen = now;
        }
    }
}

/// A translated flow, from which all its entries follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// What the client sends: from itself to the frontend.
    pub dialled: Tuple,
    /// What the kernel routes: from the client, with the flow's own port, to the backend.
    pub routed: Tuple,
    /// The node's address that stands for the client on the wire to the backend; all zeros for none.
    pub masquerade: Address,
    /// The protocol's number in an IP header.
    pub protocol: u8,
}

impl Flow {
    /// The flow that an origin's entry stands for.
    #[inline(always)]
    pub fn from_origin(key: &FlowKey, value: &FlowValue) -> Self {
        Self {
            dialled: key.tuple,
            routed: value.tuple,
            masquerade: value.masquerade,
            protocol: key.protocol,
        }
    }

    /// Whether a node's address stands for the client.
    #[inline(always)]
    pub fn is_masqueraded(&self) -> bool {
        self.masquerade != Address::default()
    }

    /// Gives up the client's port: the flow shall have one of its own.
    #[inline(always)]
    pub fn give_up_port(&mut self) {
        self.routed.source_port = Port::default();
    }

    /// Whether it shall have a port of its own, and has none yet.
    #[inline(always)]
    pub fn wants_port(&self) -> bool {
        self.routed.source_port == Port::default()
    }

    /// The client's packets as they come in.
    #[inline(always)]
    pub fn origin(&self, state: FlowState, now: u32) -> (FlowKey, FlowValue) {
        let mut value = self.value(self.routed, Role::Origin);
        value.note(state, now);
        value.masquerade = self.masquerade;
        (self.key(self.dialled, Hook::Ingress), value)
    }

    /// The replies as they go out to the client.
    #[inline(always)]
    pub fn reply(&self) -> (FlowKey, FlowValue) {
        let value = self.value(self.dialled.reverse(), Role::Reply);
        (self.key(self.routed.reverse(), Hook::Egress), value)
    }

    /// The client's packets as they go out to the backend, if masqueraded.
    #[inline(always)]
    pub fn masquerading(&self) -> (FlowKey, FlowValue) {
        let value = self.value(self.wire(), Role::Masquerade);
        (self.key(self.routed, Hook::Egress), value)
    }

    /// The replies as they come in from the backend, if masqueraded.
    #[inline(always)]
    pub fn unmasquerading(&self) -> (FlowKey, FlowValue) {
        let value = self.value(self.routed.reverse(), Role::Masquerade);
        (self.key(self.wire().reverse(), Hook::Ingress), value)
    }

    #[inline(always)]
    fn wire(&self) -> Tuple {
        Tuple {
            source: self.masquerade,
            ..self.routed
        }
    }

    #[inline(always)]
    fn key(&self, tuple: Tuple, hook: Hook) -> FlowKey {
        FlowKey::new(tuple, self.protocol, hook)
    }

    #[inline(always)]
    fn value(&self, tuple: Tuple, role: Role) -> FlowValue {
        FlowValue {
            tuple,
            masquerade: Address::default(),
            last_seen: 0,
            state: 0,
            role: role as u8,
            _pad: [0; 2],
            hop: NextHop::default(),
        }
    }
}

#[cfg(test)]
mod tests;
