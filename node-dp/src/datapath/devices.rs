//! Attaches the programs of devices: by links where the kernel has TCX (6.6), else as filters of a clsact qdisc.
//!
//! Links are pinned and filters stay by themselves, so packets are translated while no agent runs; a restarted agent swaps
//! the program of each in one step.

use std::{io, os::fd::AsFd, path::Path};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};

use super::{
    hooks::{AttachError, HookError, open_if_there, pin_in_place},
    interfaces::{self, Interface},
    object::Programs,
    pins, sys,
};

/// How programs are attached to devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// By links, which are pinned.
    Tcx,
    /// As filters of a qdisc.
    Clsact,
}

impl Attachment {
    /// The best that the kernel has.
    pub fn best() -> Self {
        match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
            Ok(_) => Self::Tcx,
            // A kernel before 6.6 does not know the question.
            Err(_) => Self::Clsact,
        }
    }
}

/// Where a filter stands among those of a device: first, so that no other one ends a packet's way before it is translated.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0x15);

/// A program for a hook of devices.
struct DeviceHook {
    direction: TcAttachType,
    /// The program for devices with Ethernet headers.
    ethernet: &'static str,
    /// The program for devices without.
    bare: &'static str,
}

/// The hooks, in the order in which they are attached: what turns addresses back comes first.
const HOOKS: [DeviceHook; 2] = [
    DeviceHook {
        direction: TcAttachType::Egress,
        ethernet: "isthmus_out",
        bare: "isthmus_out_l3",
    },
    DeviceHook {
        direction: TcAttachType::Ingress,
        ethernet: "isthmus_in",
        bare: "isthmus_in_l3",
    },
];

impl DeviceHook {
    fn program(&self, device: Interface) -> &'static str {
        if device.is_ethernet {
            self.ethernet
        } else {
            self.bare
        }
    }
}

/// Loads all programs of devices.
pub(super) fn load_all(programs: &mut Programs) -> Result<(), AttachError> {
    for hook in HOOKS {
        for name in [hook.ethernet, hook.bare] {
            let load = programs
                .device_program(name)
                .and_then(SchedClassifier::load);
            load.map_err(|error| failed(name, error))?;
        }
    }
    Ok(())
}

/// Attaches the programs to a device, in place of those of a former run.
pub(super) fn attach(
    programs: &mut Programs,
    bpffs: &Path,
    attachment: Attachment,
    name: &str,
) -> Result<(), AttachError> {
    for hook in HOOKS {
        let device = interfaces::find(name).map_err(|error| failed(hook.ethernet, error))?;
        let label = hook.program(device);
        let program = programs
            .device_program(label)
            .map_err(|error| failed(label, error))?;
        let attached = match attachment {
            Attachment::Tcx => {
                let pin = pins::link(bpffs, &format!("{label}-{}", device.index));
                attach_link(program, &pin, device, (name, hook.direction))
            }
            Attachment::Clsact => attach_filter(program, name, hook.direction),
        };
        attached.map_err(|source| AttachError {
            hook: label,
            source,
        })?;
    }
    Ok(())
}

/// Removes the filters of a former run from all devices; links go with their pins.
pub(super) fn detach_filters() -> io::Result<()> {
    for device in interfaces::names()? {
        for hook in HOOKS {
            for program in [hook.ethernet, hook.bare] {
                // That there is none, or not even a qdisc, is the usual case.
                drop(tc::qdisc_detach_program(&device, hook.direction, program));
            }
        }
    }
    Ok(())
}

fn attach_link(
    program: &mut SchedClassifier,
    pin: &Path,
    device: Interface,
    (name, direction): (&str, TcAttachType),
) -> Result<(), HookError> {
    if let Some(link) = open_if_there(pin)?
        && sys::link_info(&link)?.device() == device.index
    {
        sys::update_link(link.as_fd(), program.fd()?.as_fd())?;
        return Ok(());
    }
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(name, direction, order)?;
    pin_in_place(program.take_link(id)?.try_into()?, pin)
}

fn attach_filter(
    program: &mut SchedClassifier,
    name: &str,
    direction: TcAttachType,
) -> Result<(), HookError> {
    // An error says that the qdisc is there, or else attaching says why it is not.
    drop(tc::qdisc_add_clsact(name));
    let options = NlOptions {
        priority: PRIORITY,
        handle: HANDLE,
        classid: None,
    };
    let fresh = program.attach_with_options(name, direction, TcAttachOptions::Netlink(options));
    let id = match fresh {
        Ok(id) => id,
        Err(ProgramError::TcError(TcError::NetlinkError(_))) => {
            let former = SchedClassifierLink::attached(name, direction, PRIORITY, HANDLE, None)?;
            program.attach_to_link(former)?
        }
        Err(error) => return Err(error.into()),
    };
    // The filter stays when the link value goes: only forgetting it keeps aya from removing it.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

fn failed(hook: &'static str, error: impl Into<HookError>) -> AttachError {
    AttachError {
        hook,
        source: error.into(),
    }
}
