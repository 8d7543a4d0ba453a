//! A TUN device with virtio-net headers: IP super-packets between the kernel's routing and the embedded WireGuard.
//!
//! The device exists as long as a [`Tun`] of it does.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice, Read as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
};

/// The kernel's clone device: each TUN device begins as an open file of it.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// Super-packets of TCP, and packets whose checksum is left to make.
const TCP_OFFLOADS: libc::c_uint =
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

/// Super-packets of UDP (Linux 6.2).
const UDP_OFFLOADS: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Why there is no TUN device.
#[derive(Debug, thiserror::Error)]
pub enum OpenTunError {
    /// The kernel's clone device can't be opened.
    #[error("cannot open {CLONE_DEVICE}: the kernel needs TUN and the agent CAP_NET_ADMIN")]
    Clone(#[source] io::Error),
    /// The kernel refused the device.
    #[error("cannot create the TUN device '{device}': does another process hold it?")]
    Create {
        /// The device.
        device: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// An open TUN device.
#[derive(Debug)]
pub(super) struct Tun {
    file: File,
    takes_udp: bool,
}

impl Tun {
    /// Creates the device in the network namespace of the calling thread.
    pub(super) fn create(device: &str) -> Result<Self, OpenTunError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(CLONE_DEVICE)
            .map_err(OpenTunError::Clone)?;
        attach(&file, device).map_err(|source| OpenTunError::Create {
            device: device.to_owned(),
            source,
        })?;
        let takes_udp = offload(&file, TCP_OFFLOADS | UDP_OFFLOADS).is_ok();
        if !takes_udp && let Err(error) = offload(&file, TCP_OFFLOADS) {
            tracing::warn!(%error, device, "the tunnel device works packet by packet, which is slow");
        }
        Ok(Self { file, takes_udp })
    }

    /// Whether the kernel knows super-packets of UDP.
    pub(super) fn takes_udp(&self) -> bool {
        self.takes_udp
    }

    /// Reads a header and the packet behind it.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Writes a header and the packet behind it.
    pub(super) fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.file).write_vectored(pieces)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether the error says that the device is no more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADF | libc::EBADFD | libc::ENODEV)
    )
}

/// Ties the open file to a TUN device of this name, which the kernel makes if there is none.
fn attach(file: &File, device: &str) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(device.bytes()).take(libc::IFNAMSIZ - 1) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: flags as libc::c_short,
        },
    };
    // SAFETY: the file is open, and TUNSETIFF only reads and writes the `ifreq` that the pointer is to.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Says which super-packets we take.
fn offload(file: &File, features: libc::c_uint) -> io::Result<()> {
    let features = libc::c_ulong::from(features);
    // SAFETY: the file is open, and TUNSETOFFLOAD takes a number.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, features) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
