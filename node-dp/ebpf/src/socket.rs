//! The socket a hook runs for, and the peer address it may change. All pointer work is here.

use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock_addr,
    helpers::{bpf_get_socket_cookie, generated::bpf_get_netns_cookie},
    programs::SockAddrContext,
};
use node_dp_common::{Address, Client, FrontendKey, Port};

/// Whether the kernel tells programs of sockets apart network namespaces (5.7); set at load. Where it does not, the whole
/// node is one client.
#[unsafe(no_mangle)]
static HAS_NETNS_COOKIE: u32 = 0;

/// The cookie of the node's own network namespace, set at load; zero where the kernel does not tell it (5.14): then it is
/// taken for the first namespace of this boot, as which nodes run agents.
#[unsafe(no_mangle)]
static NODE_NETNS_COOKIE: u64 = 0;

/// Which of the address fields a hook has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// An IPv4 address.
    V4,
    /// An IPv6 address, which may be a mapped IPv4 one.
    V6,
}

/// A socket and the peer address of the call on it.
pub(crate) struct Socket {
    context: SockAddrContext,
    family: Family,
}

/// Reads a field of the context, at its own width: the verifier refuses merged accesses.
macro_rules! read {
    ($self:ident, $field:ident $([$index:literal])?) => {{
        // SAFETY: the kernel hands a valid context to the program, and the field is readable in all its hooks.
        unsafe { (&raw const (*$self.context.sock_addr).$field$([$index])?).read_volatile() }
    }};
}

/// Writes a field of the context, at its own width.
macro_rules! write {
    ($self:ident, $field:ident $([$index:literal])?, $value:expr) => {{
        // SAFETY: the kernel hands a valid context to the program, and the field is writable in all its hooks.
        unsafe { (&raw mut (*$self.context.sock_addr).$field$([$index])?).write_volatile($value) }
    }};
}

impl Socket {
    /// The socket of a hook of the given family.
    #[inline(always)]
    pub(crate) fn new(context: SockAddrContext, family: Family) -> Self {
        Self { context, family }
    }

    /// The context, for the maps that hang on the socket.
    #[inline(always)]
    pub(crate) fn context(&self) -> &SockAddrContext {
        &self.context
    }

    /// The raw context.
    #[inline(always)]
    pub(crate) fn as_sock_addr(&self) -> *mut bpf_sock_addr {
        self.context.sock_addr
    }

    /// The protocol's number in an IP header.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u8 {
        // A multipath TCP socket says 262: TCP, and a bit above the byte.
        read!(self, protocol) as u8
    }

    /// A number that no other socket of this boot has.
    #[inline(always)]
    pub(crate) fn cookie(&self) -> u64 {
        // SAFETY: the helper takes the context of this program type.
        unsafe { bpf_get_socket_cookie(self.context.as_ptr()) }
    }

    /// The client that the socket is of: its network namespace, as its own address is not chosen before it connects.
    #[inline(always)]
    pub(crate) fn client(&self) -> Client {
        Client::in_namespace(self.namespace())
    }

    /// Whether the socket is in the node's own network namespace, and not in a pod's.
    #[inline(always)]
    pub(crate) fn is_of_node(&self) -> bool {
        if !tells_namespaces() {
            return false;
        }
        // SAFETY: a plain read of a constant; volatile because the loader changes it behind the compiler's back.
        let node = match unsafe { (&raw const NODE_NETNS_COOKIE).read_volatile() } {
            // SAFETY: without a context the helper answers for the first namespace.
            0 => unsafe { bpf_get_netns_cookie(core::ptr::null_mut()) },
            cookie => cookie,
        };
        self.namespace() == node
    }

    /// The cookie of the socket's network namespace; zero where the kernel does not tell.
    #[inline(always)]
    fn namespace(&self) -> u64 {
        if !tells_namespaces() {
            return 0;
        }
        // SAFETY: the helper takes the context of this program type.
        unsafe { bpf_get_netns_cookie(self.context.as_ptr()) }
    }

    /// The peer, as a frontend would be written in the map.
    #[inline(always)]
    pub(crate) fn peer(&self) -> FrontendKey {
        let address = match self.family {
            Family::V4 => Address::from_v4_word(read!(self, user_ip4)),
            Family::V6 => Address::from_v6_words([
                read!(self, user_ip6[0]),
                read!(self, user_ip6[1]),
                read!(self, user_ip6[2]),
                read!(self, user_ip6[3]),
            ]),
        };
        let port = Port::from_network(read!(self, user_port) as u16);
        FrontendKey::from_parts(address, port, self.protocol())
    }

    /// Whether the peer can be set to this address.
    #[inline(always)]
    pub(crate) fn can_have_peer(&self, address: &Address) -> bool {
        match self.family {
            Family::V4 => address.is_v4(),
            Family::V6 => true,
        }
    }

    /// Sets the peer.
    #[inline(always)]
    pub(crate) fn set_peer(&self, (address, port): (Address, Port)) {
        let words = address.to_words();
        match self.family {
            Family::V4 => write!(self, user_ip4, words[3]),
            Family::V6 => {
                write!(self, user_ip6[0], words[0]);
                write!(self, user_ip6[1], words[1]);
                write!(self, user_ip6[2], words[2]);
                write!(self, user_ip6[3], words[3]);
            }
        }
        write!(self, user_port, u32::from(port.to_network()));
    }
}

#[inline(always)]
fn tells_namespaces() -> bool {
    // SAFETY: a plain read of a constant; volatile because the loader changes it behind the compiler's back.
    (unsafe { (&raw const HAS_NETNS_COOKIE).read_volatile() }) != 0
}
