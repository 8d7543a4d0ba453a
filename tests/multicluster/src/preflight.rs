//! Finds out whether this machine can run the datapath, and says in one sentence what it lacks.

use std::{fs, path::Path};

use nix::unistd::Uid;

use crate::cgroup;

/// The oldest kernel that the datapath is meant for.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Why this machine cannot run the datapath, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The caller is not root.
    #[error("this needs root, for network namespaces and eBPF: run it again as root")]
    NotRoot,
    /// The kernel is older than the datapath is meant for.
    #[error("kernel {0} is too old: boot {major}.{minor} or newer", major = OLDEST_KERNEL.0, minor = OLDEST_KERNEL.1)]
    OldKernel(String),
    /// No cgroup v2 hierarchy can be reached.
    #[error(
        "no cgroup v2 hierarchy is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`, or boot \
         with systemd.unified_cgroup_hierarchy=1"
    )]
    NoCgroup2,
    /// The kernel does not describe its types.
    #[error(
        "the kernel offers no BTF at /sys/kernel/btf/vmlinux: boot a kernel built with CONFIG_DEBUG_INFO_BTF"
    )]
    NoBtf,
    /// The kernel has no TUN devices.
    #[error("there is no /dev/net/tun: load the module with `modprobe tun`")]
    NoTun,
}

/// What the checks look at.
struct Machine {
    is_root: bool,
    kernel_release: String,
    has_cgroup2: bool,
    has_btf: bool,
    has_tun: bool,
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Fails with the first thing that the machine lacks for gateways and agents; changes nothing.
pub fn run() -> Result<(), Unfit> {
    check(&Machine {
        is_root: is_root(),
        kernel_release: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default(),
        has_cgroup2: cgroup::mount_point().is_some(),
        has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        has_tun: Path::new("/dev/net/tun").exists(),
    })
}

fn check(machine: &Machine) -> Result<(), Unfit> {
    if !machine.is_root {
        return Err(Unfit::NotRoot);
    }
    let release = machine.kernel_release.trim();
    if kernel_version(release).is_none_or(|version| version < OLDEST_KERNEL) {
        return Err(Unfit::OldKernel(release.to_owned()));
    }
    if !machine.has_cgroup2 {
        return Err(Unfit::NoCgroup2);
    }
    if !machine.has_btf {
        return Err(Unfit::NoBtf);
    }
    if !machine.has_tun {
        return Err(Unfit::NoTun);
    }
    Ok(())
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_machine_passes() {
        assert_eq!(check(&fit()), Ok(()));
    }

    #[test]
    fn each_lack_is_named() {
        let lacks: [(TakeAway, Unfit); 5] = [
            (|m| m.is_root = false, Unfit::NotRoot),
            (
                |m| m.kernel_release = "5.4.0-150-generic\n".to_owned(),
                Unfit::OldKernel("5.4.0-150-generic".to_owned()),
            ),
            (|m| m.has_cgroup2 = false, Unfit::NoCgroup2),
            (|m| m.has_btf = false, Unfit::NoBtf),
            (|m| m.has_tun = false, Unfit::NoTun),
        ];
        for (take_away, unfit) in lacks {
            let mut machine = fit();
            take_away(&mut machine);
            assert_eq!(check(&machine), Err(unfit));
        }
    }

    #[test]
    fn a_kernel_is_compared_by_number_not_by_text() {
        assert_eq!(kernel_version("5.10.262-1"), Some((5, 10)));
        assert_eq!(kernel_version("6.1-rc3"), Some((6, 1)));
        assert_eq!(kernel_version("nonsense"), None);
        assert!(kernel_version("5.9.1") < Some(OLDEST_KERNEL));
    }

    type TakeAway = fn(&mut Machine);

    fn fit() -> Machine {
        Machine {
            is_root: true,
            kernel_release: "6.18.44\n".to_owned(),
            has_cgroup2: true,
            has_btf: true,
            has_tun: true,
        }
    }
}
