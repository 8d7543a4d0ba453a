//! One boot of one kernel, from QEMU's start to what the suites said.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use multicluster::wait_for;

use super::{
    image::{Kernel, SharedImage},
    outcome::{self, Outcome},
    suites::Suites,
};
use crate::task::command::{command, say};

/// A guest has its kernel, the tests and their network namespaces in memory.
const MEMORY: &str = "1536M";

/// How long the kernel may take before the first suite.
const BOOT: Duration = Duration::from_secs(120);

/// One emulated processor, in one thread: with more, emulation itself makes some kernels crash while they boot. The
/// clocks are those that need no calibration, which goes wrong on a busy machine: such a guest's seconds passed in a fifth of
/// one. The other switches shorten the boot; a panic ends the guest.
const ARGUMENTS: &str = "console=ttyS0 panic=-1 mitigations=off nokaslr no5lvl clocksource=hpet nolapic_timer \
                         apparmor=0 audit=0 rcupdate.rcu_cpu_stall_suppress=1 loglevel=5";

/// Boots a kernel, runs the suites, and tells what came of each.
///
/// A guest that hangs or panics fails with the last that its kernel said; nothing is tried twice, or a panic that our own
/// programs caused could hide.
pub(super) fn boot(
    shared: &SharedImage,
    kernel: &Kernel,
    suites: &Suites,
) -> anyhow::Result<Outcome> {
    say(&format!("kernel matrix: booting {}", kernel.release));
    let initramfs = shared.with_modules_of(kernel)?;
    let (console, said) = (
        kernel.folder.join("console.log"),
        kernel.folder.join("output.log"),
    );
    let mut guest = Guest(start(kernel, &initramfs, [&console, &said])?);
    let limit = BOOT + Duration::from_secs(suites.seconds());
    let ended = wait_for(limit, "the guest's end", || Ok(guest.0.try_wait()?));
    drop(guest);
    let ended = match ended {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("QEMU ended with {status}")),
        Err(error) => Some(format!("{error:#}")),
    };
    let said = fs::read(&said).with_context(|| format!("reading {}", said.display()))?;
    let console = fs::read(&console).unwrap_or_default();
    Ok(outcome::read(
        &String::from_utf8_lossy(&said),
        &String::from_utf8_lossy(&console),
        ended,
    ))
}

fn start(kernel: &Kernel, initramfs: &Path, logs: [&PathBuf; 2]) -> anyhow::Result<Child> {
    let mut qemu: Command = command("qemu-system-x86_64");
    // Where KVM is there, it may hang instead of failing: emulation is asked for.
    qemu.args(["-accel", "tcg,thread=single", "-smp", "1", "-cpu", "max"])
        .args(["-m", MEMORY, "-display", "none", "-no-reboot"])
        .args(["-nodefaults", "-no-user-config", "-nic", "none"])
        .arg("-kernel")
        .arg(&kernel.vmlinuz)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", ARGUMENTS]);
    for log in logs {
        qemu.arg("-serial").arg(format!("file:{}", log.display()));
    }
    qemu.stdout(Stdio::null())
        .spawn()
        .context("starting qemu-system-x86_64")
}

/// A running guest; it ends with this.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
