//! A TUN device: IP packets between the kernel's routing and the embedded WireGuard.
//!
//! The device exists as long as a [`Tun`] of it does.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    sync::Arc,
};

use gotatun::{
    packet::{Ip, Packet, PacketBufPool},
    tun::{IpRecv, IpSend, MtuWatcher},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
};

/// The kernel's clone device: each TUN device begins as an open file of it.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// Packets taken from the device per wake-up: enough to spread its cost, few enough not to delay the first.
const MAX_BATCH: usize = 64;

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
    /// The runtime can't watch the device.
    #[error("cannot watch the TUN device")]
    Watch(#[source] io::Error),
}

/// An open TUN device; clones share it.
#[derive(Clone)]
pub(super) struct Tun {
    file: Arc<AsyncFd<File>>,
    mtu: u16,
    is_lost: Arc<watch::Sender<bool>>,
}

impl Tun {
    /// Creates the device in the network namespace of the calling thread.
    pub(super) fn create(device: &str, mtu: u16) -> Result<Self, OpenTunError> {
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
        // SAFETY: a `File` owns its open descriptor, and nothing replaces or closes it while the `AsyncFd` has it.
        let file = unsafe { AsyncFd::register(file) };
        Ok(Self {
            file: Arc::new(file.map_err(|error| OpenTunError::Watch(error.into()))?),
            mtu,
            is_lost: Arc::new(watch::Sender::new(false)),
        })
    }

    /// Turns true once the device is gone under us.
    pub(super) fn is_lost(&self) -> watch::Receiver<bool> {
        self.is_lost.subscribe()
    }

    /// Notes an error that means that the device is gone.
    fn note(&self, error: &io::Error) {
        if is_gone(error) {
            self.is_lost.send_replace(true);
        }
    }

    fn read_batch(&self, file: &File, pool: &PacketBufPool) -> io::Result<Vec<Packet<Ip>>> {
        let mut packets = Vec::new();
        while packets.len() < MAX_BATCH {
            let mut packet = pool.get();
            let mut reader = file;
            match reader.read(&mut packet) {
                Ok(length) => {
                    packet.truncate(length);
                    // What is no IP packet has no peer to go to.
                    packets.extend(packet.try_into_ip().ok());
                }
                Err(_) if !packets.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(packets)
    }
}

impl IpSend for Tun {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        let bytes = packet.into_bytes();
        let written = self
            .file
            .async_io(Interest::WRITABLE, |mut file| file.write(&bytes))
            .await;
        match written {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => {
                self.note(&error);
                Err(error)
            }
            // A packet that the kernel does not take (a device that is down, a malformed header) is the packet's end only.
            Err(error) => {
                tracing::trace!(%error, "the kernel did not take a packet");
                Ok(())
            }
        }
    }
}

impl IpRecv for Tun {
    async fn recv<'a>(
        &'a mut self,
        pool: &mut PacketBufPool,
    ) -> io::Result<impl Iterator<Item = Packet<Ip>> + Send + 'a> {
        // A device that is deleted raises an error and nothing to read.
        let interest = Interest::READABLE | Interest::ERROR;
        let read = self
            .file
            .async_io(interest, |file| self.read_batch(file, pool))
            .await;
        read.inspect_err(|error| self.note(error))
            .map(Vec::into_iter)
    }

    fn mtu(&self) -> MtuWatcher {
        MtuWatcher::new(self.mtu)
    }
}

/// Whether the error says that the device is no more.
fn is_gone(error: &io::Error) -> bool {
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
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
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
