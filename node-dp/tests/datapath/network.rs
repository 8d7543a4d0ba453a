//! Hosts around a node: each a network namespace of its own, joined to the node's by a veth.

use std::{
    fs,
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};

use crate::fixture::ip;

type Task = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace, which goes when the host goes.
pub(crate) struct Host {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// A host whose device is `eth0`, at the other end of the node's `device`. Addresses are those of the host, with
    /// prefix lengths; `gateways` are where its default routes lead, if anywhere.
    pub(crate) fn new(device: &str, addresses: &[&str], gateways: &[&str]) -> Self {
        let (tasks, inbox) = channel::<Task>();
        let (tid_tx, tid_rx) = channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tid_tx.send(gettid()).unwrap();
            for task in inbox {
                task();
            }
        });
        let tid = tid_rx.recv().unwrap();
        ip(&format!(
            "link add {device} type veth peer name eth0 netns {tid}"
        ));
        ip(&format!("link set {device} up"));
        let host = Self {
            tasks: Some(tasks),
            thread: Some(thread),
        };
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (addresses, gateways) = (own(addresses), own(gateways));
        host.run(move || {
            ip("link set lo up");
            ip("link set eth0 up");
            for address in addresses {
                ip(&format!(
                    "address add {address} dev eth0{}",
                    nodad(&address)
                ));
            }
            for gateway in gateways {
                ip(&format!("route add default via {gateway}"));
            }
        });
        host
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

fn nodad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}
