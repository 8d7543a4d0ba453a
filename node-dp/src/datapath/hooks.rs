//! Attaches each program to its hook by a pinned link, or swaps the program of the link that is there.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use aya::{
    pin::PinError,
    programs::{
        CgroupAttachMode, CgroupSockAddr, ProgramError,
        links::{FdLink, LinkError},
    },
};

use super::{DatapathConfig, object::Programs, pins, sys};

/// The hooks; a program and its link's pin are named after its hook.
///
/// In the order in which they are attached: what turns addresses back comes first, so that no socket is translated whose
/// replies are not.
pub(super) const HOOKS: [&str; 8] = [
    "getpeername4",
    "getpeername6",
    "recvmsg4",
    "recvmsg6",
    "sendmsg4",
    "sendmsg6",
    "connect4",
    "connect6",
];

/// Why a program could not be attached.
#[derive(Debug, thiserror::Error)]
#[error("cannot attach the program of the hook {hook}")]
pub struct AttachError {
    hook: &'static str,
    source: HookError,
}

/// What failed about one hook.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("the kernel refused the program")]
    Program(#[from] ProgramError),
    #[error("the link has no descriptor")]
    Link(#[from] LinkError),
    #[error("the link could not be pinned")]
    Pin(#[from] PinError),
    #[error("the link could not be used")]
    Io(#[from] io::Error),
}

/// Loads all programs, then attaches them.
pub(super) fn attach_all(
    programs: &mut Programs,
    config: &DatapathConfig,
) -> Result<(), AttachError> {
    for hook in HOOKS {
        programs
            .program(hook)
            .and_then(CgroupSockAddr::load)
            .map_err(|source| AttachError {
                hook,
                source: source.into(),
            })?;
    }
    for hook in HOOKS {
        let pin = pins::link(&config.bpffs, hook);
        programs
            .program(hook)
            .map_err(HookError::from)
            .and_then(|program| attach(program, &pin, &config.cgroup))
            .map_err(|source| AttachError { hook, source })?;
    }
    Ok(())
}

fn attach(program: &mut CgroupSockAddr, pin: &Path, cgroup: &Path) -> Result<(), HookError> {
    let cgroup = File::open(cgroup)?;
    if update(program, pin, cgroup.metadata()?.ino())? {
        return Ok(());
    }
    // A link always shares its hook with others' programs, whatever the mode says, and newer kernels refuse the flag.
    let id = program.attach(&cgroup, CgroupAttachMode::Single)?;
    let link: FdLink = program.take_link(id)?.try_into()?;

    // A link to another cgroup may be pinned there: it ends only when the new one stands in its place.
    let beside = beside(pin);
    remove_if_there(&beside)?;
    link.pin(&beside)?;
    fs::rename(&beside, pin)?;
    Ok(())
}

/// Whether there was a link to this cgroup, which now runs the program.
fn update(program: &CgroupSockAddr, pin: &Path, cgroup: u64) -> Result<bool, HookError> {
    let link = match sys::open_pin(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if sys::link_info(&link)?.cgroup != cgroup {
        return Ok(false);
    }
    sys::update_link(link.as_fd(), program.fd()?.as_fd())?;
    Ok(true)
}

fn beside(pin: &Path) -> PathBuf {
    let mut name = pin.as_os_str().to_owned();
    name.push("-next");
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
