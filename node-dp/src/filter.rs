//! Attaches a program to a device as a filter of its clsact qdisc, in one step in place of the one that is there.
//!
//! A filter stays when the agent ends, on every kernel and without a pin.

use std::io;

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};

/// Where a filter stands among those of a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Lower ones come first.
    pub(crate) priority: u16,
    pub(crate) handle: TcHandle,
}

/// Why a program is no filter of a device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// The kernel refused the program or the filter.
    #[error("the kernel refused the filter")]
    Program(#[from] ProgramError),
    /// The device could not be looked at.
    #[error("the device's filters cannot be read")]
    Io(#[from] io::Error),
}

/// Makes a loaded program the filter at a place.
pub(crate) fn attach(
    program: &mut SchedClassifier,
    device: &str,
    direction: TcAttachType,
    place: Place,
) -> Result<(), FilterError> {
    // An error says that the qdisc is there, or else attaching says why it is not.
    drop(tc::qdisc_add_clsact(device));
    let Place { priority, handle } = place;
    let options = NlOptions {
        priority,
        handle,
        classid: None,
    };
    let fresh = program.attach_with_options(device, direction, TcAttachOptions::Netlink(options));
    let id = match fresh {
        Ok(id) => id,
        Err(ProgramError::TcError(TcError::NetlinkError(_))) => {
            let former = SchedClassifierLink::attached(device, direction, priority, handle, None)?;
            program.attach_to_link(former)?
        }
        Err(error) => return Err(error.into()),
    };
    // The filter stays when the link value goes: only forgetting it keeps aya from removing it.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}
