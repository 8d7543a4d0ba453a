//! Attaches each program to its hook by a pinned link, or swaps the program of the link that is there.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
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
use crate::filter::FilterError;

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
    pub(super) hook: &'static str,
    pub(super) source: HookError,
}

/// What failed about one hook.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("the kernel refused the program")]
    Program(#[from] ProgramError),
    #[error("the link has no descriptor")]
    Link(#[from] LinkError),
    #[error("the link could not be pinned")]
    Pin(#[from] PinError),
    #[error("the link could not be used")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// Loads all programs, then attaches them.
pub(super) fn attach_all(
    programs: &mut Programs,
    config: &DatapathConfig,
) -> Result<(), AttachError> {
    for hook in HOOKS {
        programs
            .socket_program(hook)
            .and_then(CgroupSockAddr::load)
            .map_err(|source| AttachError {
                hook,
                source: source.into(),
            })?;
    }
    for hook in HOOKS {
        let pin = pins::link(&config.bpffs, hook);
        programs
            .socket_program(hook)
            .map_err(HookError::from)
            .and_then(|program| attach(program, &pin, &config.cgroup))
            .map_err(|source| AttachError { hook, source })?;
    }
    Ok(())
}

/// Detaches all programs whose links are pinned in a directory, and removes the pins.
pub(super) fn detach_all(links: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(links) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let pin = entry?.path();
        sys::detach_link(sys::open_pin(&pin)?.as_fd())?;
        fs::remove_file(pin)?;
    }
    fs::remove_dir(links)
}

fn attach(program: &mut CgroupSockAddr, pin: &Path, cgroup: &Path) -> Result<(), HookError> {
    let cgroup = File::open(cgroup)?;
    let former = open_if_there(pin)?;
    if let Some(link) = &former
        && sys::link_info(link)?.cgroup() == cgroup.metadata()?.ino()
    {
        sys::update_link(link.as_fd(), program.fd()?.as_fd())?;
        return Ok(());
    }

    // A link always shares its hook with others' programs, whatever the mode says, and newer kernels refuse the flag.
    let id = program.attach(&cgroup, CgroupAttachMode::Single)?;
    pin_in_place(program.take_link(id)?.try_into()?, pin)?;

    // One that was pinned there is attached to another cgroup.
    if let Some(link) = former {
        sys::detach_link(link.as_fd())?;
    }
    Ok(())
}

/// Pins a link where another one may be pinned.
pub(super) fn pin_in_place(link: FdLink, pin: &Path) -> Result<(), HookError> {
    let beside = beside(pin);
    remove_if_there(&beside)?;
    link.pin(&beside)?;
    fs::rename(&beside, pin)?;
    Ok(())
}

/// The same with a link that aya does not know.
pub(super) fn pin_link_in_place(link: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    let beside = beside(pin);
    remove_if_there(&beside)?;
    sys::pin(link, &beside)?;
    fs::rename(&beside, pin)
}

pub(super) fn open_if_there(pin: &Path) -> io::Result<Option<OwnedFd>> {
    match sys::open_pin(pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        link => link.map(Some),
    }
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
