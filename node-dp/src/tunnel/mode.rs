//! Which implementation is asked for, which is used, and why.

use std::{fmt, str::FromStr};

use super::{OpenError, kernel};

/// Which implementation the operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The kernel's if it has one, else the embedded one.
    Auto,
    /// The kernel's or none.
    Kernel,
    /// The embedded one.
    Userspace,
}

/// The text is not a [`Mode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is none of 'auto', 'kernel' and 'userspace'")]
pub struct ParseModeError(String);

impl FromStr for Mode {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel" => Ok(Self::Kernel),
            "userspace" => Ok(Self::Userspace),
            _ => Err(ParseModeError(text.to_owned())),
        }
    }
}

/// Which implementation carries the tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// The kernel's WireGuard, configured over generic netlink.
    Kernel,
    /// WireGuard in the agent, over a TUN device.
    Userspace,
}

impl Implementation {
    /// Its name in the status and in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        }
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Whether to use the kernel's, and why.
pub(super) async fn choose(mode: Mode) -> Result<(bool, String), OpenError> {
    let asked = "asked for".to_owned();
    match mode {
        Mode::Auto => Ok(match kernel::is_there().await {
            Ok(true) => (true, "the kernel has WireGuard".to_owned()),
            Ok(false) => (false, "the kernel has no WireGuard".to_owned()),
            Err(error) => (false, format!("the kernel can't be asked: {error}")),
        }),
        Mode::Kernel if kernel::is_there().await? => Ok((true, asked)),
        Mode::Kernel => Err(OpenError::NoKernelWireguard),
        Mode::Userspace => Ok((false, asked)),
    }
}
