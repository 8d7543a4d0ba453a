//! Attaches the programs of devices: by links where the kernel has TCX (6.6), else as filters of a clsact qdisc.
//!
//! Links are pinned and filters stay by themselves, so packets are translated while no agent runs; a restarted agent swaps
//! the program of each in one step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType,
    tc::{self, TcAttachOptions, TcHandle},
};

use super::{
    Acceleration, DatapathConfig,
    fast_path::FastPaths,
    hooks::{AttachError, HookError, open_if_there, pin_in_place},
    interfaces::{self, Interface},
    object::Programs,
    pins, sys,
};
use crate::filter::{self, Place};

/// How programs are attached to devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
const PLACE: Place = Place {
    priority: 1,
    handle: TcHandle::new(0, 0x15),
};

/// How the names of programs begin.
const PREFIX: &str = "isthmus_";

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

/// The devices that the programs are attached to.
#[derive(Debug)]
pub(super) struct Devices {
    served: BTreeMap<String, Served>,
    fast_paths: FastPaths,
}

/// A device that the programs are attached to.
#[derive(Debug, PartialEq, Eq)]
struct Served {
    index: u32,
    pins: Vec<PathBuf>,
}

impl Devices {
    pub(super) fn new(fast_paths: FastPaths) -> Self {
        Self {
            served: BTreeMap::new(),
            fast_paths,
        }
    }

    /// What came of the fast path at each of them.
    pub(super) fn accelerations(&self) -> BTreeMap<String, Acceleration> {
        self.fast_paths.accelerations()
    }

    /// The names of those that are there.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.served.keys().map(String::as_str)
    }

    /// Attaches the programs to the configured devices, in place of those of a former run, and takes them off all others.
    pub(super) fn attach_all(
        &mut self,
        programs: &mut Programs,
        config: &DatapathConfig,
    ) -> Result<(), AttachError> {
        if !config.devices.is_empty() {
            load_all(programs)?;
        }
        self.follow(programs, config)?;
        self.fast_paths.drop_others();
        self.detach_others(config)
    }

    /// Attaches the programs to the configured devices that have come, or have come back as others; true if there were any,
    /// or if one has gone. What has gone, or is not there yet, is no error: it is looked for again.
    pub(super) fn follow(
        &mut self,
        programs: &mut Programs,
        config: &DatapathConfig,
    ) -> Result<bool, AttachError> {
        let mut has_changed = false;
        for name in &config.devices {
            let there = interfaces::find(name).map_err(|error| failed("of devices", error))?;
            let served = self.served.get(name).map(|served| served.index);
            if there.map(|there| there.index) == served {
                continue;
            }
            has_changed = true;
            self.served.remove(name);
            self.fast_paths.forget(name);
            if let Some(there) = there {
                let pins = attach(programs, config, (name, there))?;
                let index = there.index;
                self.served.insert(name.clone(), Served { index, pins });
                self.fast_paths.attach(programs, config, (name, there));
            }
        }
        self.fast_paths.follow();
        if has_changed {
            self.detach_others(config)?;
        }
        Ok(has_changed)
    }

    fn detach_others(&self, config: &DatapathConfig) -> Result<(), AttachError> {
        let pins = self.served.values().flat_map(|served| &served.pins);
        let pins = pins.chain(self.fast_paths.pins());
        let filtered: &[String] = match config.attachment {
            Attachment::Tcx => &[],
            Attachment::Clsact => &config.devices,
        };
        detach_links(&config.bpffs, &pins.collect())
            .and_then(|()| detach_filters(filtered))
            .map_err(|error| failed("of other devices", error))
    }
}

/// Removes the filters of a former run from all devices but some.
pub(super) fn detach_filters(but: &[String]) -> io::Result<()> {
    for device in interfaces::names()? {
        if but.contains(&device) {
            continue;
        }
        for hook in HOOKS {
            for program in [hook.ethernet, hook.bare] {
                // That there is none, or not even a qdisc, is the usual case.
                drop(tc::qdisc_detach_program(&device, hook.direction, program));
            }
        }
    }
    Ok(())
}

/// Detaches the links to devices but those of some pins.
fn detach_links(bpffs: &Path, but: &BTreeSet<&PathBuf>) -> io::Result<()> {
    for pin in pins::links(bpffs)? {
        let is_ours = pin
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if is_ours && !but.contains(&pin) {
            sys::detach_link(sys::open_pin(&pin)?.as_fd())?;
            fs::remove_file(pin)?;
        }
    }
    Ok(())
}

fn load_all(programs: &mut Programs) -> Result<(), AttachError> {
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

/// Attaches the programs to a device; returns where links are pinned.
fn attach(
    programs: &mut Programs,
    config: &DatapathConfig,
    (name, device): (&str, Interface),
) -> Result<Vec<PathBuf>, AttachError> {
    let mut pinned = Vec::new();
    for hook in HOOKS {
        let label = hook.program(device);
        let program = programs
            .device_program(label)
            .map_err(|error| failed(label, error))?;
        let attached = match config.attachment {
            Attachment::Tcx => {
                let pin = pins::link(&config.bpffs, &format!("{label}-{}", device.index));
                pinned.push(pin.clone());
                attach_link(program, &pin, device, (name, hook.direction))
            }
            Attachment::Clsact => {
                filter::attach(program, name, hook.direction, PLACE).map_err(HookError::from)
            }
        };
        attached.map_err(|source| AttachError {
            hook: label,
            source,
        })?;
    }
    Ok(pinned)
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

fn failed(hook: &'static str, error: impl Into<HookError>) -> AttachError {
    AttachError {
        hook,
        source: error.into(),
    }
}
