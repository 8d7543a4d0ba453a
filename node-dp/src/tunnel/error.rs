//! Why a tunnel is not as it must be.

use super::{KernelError, LinkError, RouteError, UserspaceError};

/// Why no tunnel device could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The device's name is not one that the kernel takes.
    #[error("'{0}' is not a device name: 1 to 15 bytes without '/', ':' and white space")]
    BadDevice(String),
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Netlink(#[source] std::io::Error),
    /// The kernel's WireGuard was asked for and isn't there.
    #[error("the kernel has no WireGuard: load the module 'wireguard', or choose the mode 'auto'")]
    NoKernelWireguard,
    /// The kernel's WireGuard refused.
    #[error("cannot set up the kernel's WireGuard")]
    Kernel(#[from] KernelError),
    /// The embedded WireGuard failed.
    #[error("cannot set up the embedded WireGuard")]
    Userspace(#[from] UserspaceError),
    /// The device refused its MTU, its address or to go up.
    #[error("cannot set up the tunnel device")]
    Link(#[from] LinkError),
}

/// Why peers were not all configured or read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The kernel's WireGuard refused.
    #[error("the kernel's WireGuard refused")]
    Kernel(#[from] KernelError),
    /// The embedded WireGuard failed.
    #[error("the embedded WireGuard refused")]
    Userspace(#[from] UserspaceError),
}

/// Why the device does not, or not in all, use another key.
#[derive(Debug, thiserror::Error)]
pub enum SetKeyError {
    /// The implementation refused the key.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// A probe address could not be added or removed.
    #[error("cannot change the probe addresses")]
    Link(#[from] LinkError),
}

/// Why what no tunnel leads to yet is not refused.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Netlink(#[source] std::io::Error),
    /// A route or rule is missing.
    #[error("cannot refuse what no tunnel leads to")]
    Routes(#[from] RouteError),
}

/// Why what a former run left could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Netlink(#[source] std::io::Error),
    /// A route stays.
    #[error("cannot remove the routes")]
    Routes(#[from] RouteError),
    /// The device stays.
    #[error("cannot remove the tunnel device")]
    Link(#[from] LinkError),
}
