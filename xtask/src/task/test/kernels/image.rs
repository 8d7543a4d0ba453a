//! What a guest boots from: a kernel, and a file system in memory with the tests and the modules that they need.
//!
//! The archive that all guests share comes first; each kernel's modules follow in an archive of their own, which the
//! kernel unpacks into the same tree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use super::{
    mirror::{Mirror, Packages, Unavailable},
    suites::Suites,
};
use crate::task::command::{command, output, run};

/// The script that the guest's kernel starts.
const INIT: &str = include_str!("init.sh");

/// Modules that the tests ask for; what these need in turn comes with them.
const MODULES: [&str; 8] = [
    "wireguard",
    "tun",
    "veth",
    "sch_ingress",
    "cls_bpf",
    "ip6_udp_tunnel",
    "tcp_diag",
    "udp_diag",
];

/// Programs of this machine that run in the guest.
const PROGRAMS: [&str; 4] = ["ip", "tc", "wg", "kmod"];

/// A kernel that can be booted.
#[derive(Debug)]
pub(super) struct Kernel {
    /// What `uname -r` says when it runs.
    pub(super) release: String,
    /// The folder of its own, where what it said is kept too.
    pub(super) folder: PathBuf,
    pub(super) vmlinuz: PathBuf,
    modules: PathBuf,
}

/// The part that all guests share.
#[derive(Debug)]
pub(super) struct SharedImage(PathBuf);

impl SharedImage {
    /// Packs the tests and all that they run.
    pub(super) fn build(folder: &Path, suites: &Suites) -> anyhow::Result<Self> {
        let tree = folder.join("shared");
        remove_if_there(&tree)?;
        for name in [
            "bin",
            "sbin",
            "suites",
            "tools/bin",
            "dev",
            "proc",
            "sys",
            "run",
            "tmp",
        ] {
            fs::create_dir_all(tree.join(name))?;
        }
        fs::write(tree.join("init"), INIT)?;
        run(command("chmod").arg("755").arg(tree.join("init")))?;
        fs::write(tree.join("suites/list"), suites.script())?;
        for (path, program) in &suites.programs {
            let into = tree.join(path);
            // Debug information would fill the guest's memory.
            run(command("strip").arg("-o").arg(&into).arg(program))?;
            add_libraries(&tree, program)?;
        }
        for name in PROGRAMS {
            let program = find(name)?;
            add_libraries(&tree, &program)?;
            copy(&program, &tree.join("sbin").join(name))?;
        }
        for alias in ["modprobe", "depmod", "insmod"] {
            symlink("kmod", tree.join("sbin").join(alias))?;
        }
        copy(&find("busybox")?, &tree.join("bin/busybox"))?;
        symlink("busybox", tree.join("bin/sh"))?;
        let archive = folder.join("shared.cpio");
        pack(&tree, &archive)?;
        Ok(Self(archive))
    }

    /// Writes the whole file system of a guest.
    pub(super) fn with_modules_of(&self, kernel: &Kernel) -> anyhow::Result<PathBuf> {
        let path = kernel.folder.join("initramfs.cpio");
        let mut whole = File::create(&path)?;
        for part in [&self.0, &kernel.modules] {
            io::copy(&mut File::open(part)?, &mut whole)?;
        }
        Ok(path)
    }
}

/// Unpacks a kernel, which is fetched if it is not here from a former run.
pub(super) fn unpack(
    mirror: &Mirror,
    folder: &Path,
    packages: &Packages,
) -> Result<Kernel, Unavailable> {
    let own = folder.join(&packages.release);
    let unpacked = own.join("root");
    let failed = |source| Unavailable::Mirror {
        what: format!("a usable {}", packages.release),
        source,
    };
    if !unpacked.is_dir() {
        let partial = own.join("partial");
        fresh(&partial).map_err(failed)?;
        mirror.download(folder, packages, &partial)?;
        extract(&partial, &unpacked).map_err(failed)?;
    }
    kernel_in(&own, &unpacked, &packages.release).map_err(failed)
}

/// Extracts all packages in a folder; what is at `into` afterwards is whole.
fn extract(packages: &Path, into: &Path) -> anyhow::Result<()> {
    let tree = packages.join("tree");
    for entry in fs::read_dir(packages)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(command("dpkg-deb").arg("-x").arg(path).arg(&tree))?;
        }
    }
    fs::rename(&tree, into)?;
    Ok(fs::remove_dir_all(packages)?)
}

fn kernel_in(own: &Path, unpacked: &Path, release: &str) -> anyhow::Result<Kernel> {
    let below = ["usr", "."].map(|base| unpacked.join(base));
    let base = below
        .iter()
        .find(|base| base.join("lib/modules").is_dir())
        .context("the packages have no modules")?;
    // Where it is since 7.x, and where it was before.
    let places = [
        base.join("lib/modules").join(release).join("vmlinuz"),
        unpacked.join("boot").join(format!("vmlinuz-{release}")),
    ];
    let vmlinuz = places.into_iter().find(|path| path.is_file());
    let vmlinuz = vmlinuz.context("the packages have no kernel")?;
    let tree = own.join("modules");
    fresh(&tree)?;
    copy_modules(base, &tree, release)?;
    let modules = own.join("modules.cpio");
    pack(&tree, &modules)?;
    Ok(Kernel {
        release: release.to_owned(),
        folder: own.to_owned(),
        vmlinuz,
        modules,
    })
}

/// Copies the modules that are asked for, with those that they need, and what `modprobe` reads to find them.
fn copy_modules(base: &Path, tree: &Path, release: &str) -> anyhow::Result<()> {
    let depmod = |at: &Path| run(command("/sbin/depmod").arg("-b").arg(at).arg(release));
    let modules = format!("lib/modules/{release}");
    depmod(base)?;
    let listed = fs::read_to_string(base.join(&modules).join("modules.dep"))?;
    let (from, to) = (base.join(&modules), tree.join(&modules));
    for path in needed(&listed, &MODULES) {
        copy(&from.join(path), &to.join(path))?;
    }
    for name in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        // What an older kernel lacks is not needed for it.
        if from.join(name).is_file() {
            copy(&from.join(name), &to.join(name))?;
        }
    }
    depmod(tree)
}

/// The files of modules and of all that they need, by the kernel's list of who needs whom; one that is built in has none.
fn needed<'a>(listed: &'a str, names: &[&str]) -> BTreeSet<&'a str> {
    let needs: BTreeMap<&str, &str> = listed
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let mut found = BTreeSet::new();
    for (path, needed) in needs {
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.split('.').next().unwrap_or(file);
        if names.contains(&name) {
            found.insert(path);
            found.extend(needed.split_whitespace());
        }
    }
    found
}

fn add_libraries(tree: &Path, program: &Path) -> anyhow::Result<()> {
    for library in libraries(&output(command("ldd").arg(program))?) {
        copy(library, &tree.join(library.strip_prefix("/")?))?;
    }
    Ok(())
}

/// The files that `ldd` names.
fn libraries(listed: &str) -> impl Iterator<Item = &Path> {
    listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(Path::new)
}

fn find(program: &str) -> anyhow::Result<PathBuf> {
    let found = ["/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .map(|folder| Path::new(folder).join(program))
        .into_iter()
        .find(|path| path.is_file());
    found.with_context(|| format!("{program} is not installed"))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

fn fresh(folder: &Path) -> anyhow::Result<()> {
    remove_if_there(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

fn remove_if_there(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Packs a tree as the kernel wants it: the archive format `newc`, all of it root's.
fn pack(tree: &Path, archive: &Path) -> anyhow::Result<()> {
    let list = output(Command::new("find").arg(".").current_dir(tree))?;
    let names = archive.with_extension("names");
    fs::write(&names, list)?;
    let mut cpio = Command::new("cpio");
    cpio.args(["--create", "--quiet", "--format=newc", "--owner=0:0"])
        .current_dir(tree)
        .stdin(File::open(&names)?)
        .stdout(Stdio::from(File::create(archive)?));
    let status = cpio.status().context("starting cpio")?;
    if !status.success() {
        bail!("cpio ended with {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_with_those_that_it_needs() {
        let listed = "kernel/net/wireguard.ko.xz: kernel/lib/curve.ko.xz kernel/net/tunnel.ko.xz\n\
                      kernel/net/tunnel.ko.xz:\nkernel/lib/curve.ko.xz:\nkernel/net/other.ko:\n";

        let found: Vec<&str> = needed(listed, &["wireguard", "built_in"])
            .into_iter()
            .collect();

        assert_eq!(
            found,
            [
                "kernel/lib/curve.ko.xz",
                "kernel/net/tunnel.ko.xz",
                "kernel/net/wireguard.ko.xz"
            ]
        );
    }

    #[test]
    fn libraries_are_told_from_the_rest_of_what_ldd_says() {
        let listed = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64/libc.so.6 (0x00)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00)\n";

        let found: Vec<_> = libraries(listed).collect();

        assert_eq!(
            found,
            [
                Path::new("/lib/x86_64/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}
