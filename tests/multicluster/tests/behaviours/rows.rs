//! The rows of the matrix, by what they are about.

pub(crate) mod affinity;
pub(crate) mod basics;
pub(crate) mod changes;
pub(crate) mod kinds;
pub(crate) mod policies;
pub(crate) mod ports;

/// Why a column is not claimed in which a node's own socket has a backend in another cluster.
const NODE_TO_CLUSTER: &str = "tunnels do not carry a node's own IPv4 address; over IPv6 its probe address stands for it, \
                               which nobody has promised";
