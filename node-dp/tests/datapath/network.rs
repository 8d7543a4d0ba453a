//! Hosts around a node: each a network namespace of its own, joined to the node's by a veth.

use std::{
    fs,
    net::UdpSocket,
    os::fd::AsRawFd,
    process::Command,
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Pid, gettid},
};

/// What a device can be told to do, or not to, by the numbers that ethtool has for that.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum Offload {
    /// To compute checksums of what it sends: at a veth, to leave that to whoever needs one.
    Checksums = 0x17,
    /// To merge what it receives: at a veth, to take frames at all that a driver sends from the other end.
    Merging = 0x2c,
}

type Task = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace, which goes when the host goes.
pub(crate) struct Host {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    tid: Pid,
}

impl Host {
    /// A host whose device is `eth0`, at the other end of the node's `device`. Addresses are those of the host, with
    /// prefix lengths; `gateways` are where its default routes lead, if anywhere.
    pub(crate) fn new(device: &str, addresses: &[&str], gateways: &[&str]) -> Self {
        let host = Self::alone();
        let tid = host.tid;
        ip(&format!(
            "link add {device} type veth peer name eth0 netns {tid}"
        ));
        ip(&format!("link set {device} up"));
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (addresses, gateways) = (own(addresses), own(gateways));
        host.run(move || {
            ip("link set eth0 up");
            for address in addresses {
                address_of("eth0", &address);
            }
            for gateway in gateways {
                ip(&format!("route add default via {gateway}"));
            }
        });
        host
    }

    /// A host that nobody reaches.
    pub(crate) fn alone() -> Self {
        let (tasks, inbox) = channel::<Task>();
        let (tid_tx, tid_rx) = channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tid_tx.send(gettid()).unwrap();
            for task in inbox {
                task();
            }
        });
        let host = Self {
            tasks: Some(tasks),
            thread: Some(thread),
            tid: tid_rx.recv().unwrap(),
        };
        host.run(|| ip("link set lo up"));
        host
    }

    /// Joins it to another one by a veth, whose ends are named here and there.
    #[allow(
        dead_code,
        reason = "the bench of forwarding does, which shares this file"
    )]
    pub(crate) fn join(&self, here: &str, other: &Self, there: &str) {
        let (here, there) = (here.to_owned(), there.to_owned());
        let tid = other.tid;
        let up = format!("link set {there} up");
        self.run(move || {
            ip(&format!(
                "link add {here} type veth peer name {there} netns {tid}"
            ));
            ip(&format!("link set {here} up"));
        });
        other.run(move || ip(&up));
    }

    /// Runs something on the host, and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (result_tx, result_rx) = channel();
        let task = move || {
            // Who waits for it has panicked.
            drop(result_tx.send(task()));
        };
        let tasks = self.tasks.as_ref().expect("the host is there");
        tasks.send(Box::new(task)).unwrap();
        result_rx.recv().expect("the task does not panic")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // What went wrong on it has been said.
            drop(thread.join());
        }
    }
}

/// Gives the node's end of a host's device an address.
pub(crate) fn address_of(device: &str, address: &str) {
    ip(&format!(
        "address add {address} dev {device}{}",
        nodad(address)
    ));
}

/// Makes the node forward packets, and check where they come from as strictly as can be.
pub(crate) fn be_router() {
    for (key, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/conf/all/rp_filter", "1"),
    ] {
        fs::write(format!("/proc/sys/net/{key}"), value).unwrap();
    }
}

/// Tells a device of this thread's namespace what to do.
pub(crate) fn set_offload(device: &str, offload: Offload, is_on: bool) {
    let mut value = [offload as u32, u32::from(is_on)];
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: value.as_mut_ptr().cast(),
        },
    };
    for (place, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *place = byte.cast_signed();
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // SAFETY: the question takes such a struct, which lives until the call returns, as does what it points to.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    assert_eq!(result, 0, "{device}: {}", std::io::Error::last_os_error());
}

/// Runs iproute2's `ip`.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

fn nodad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}
