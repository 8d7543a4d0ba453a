//! The fast path: the XDP program that forwards packets of flows under way, on each device that can have it.
//!
//! It is never needed: where it cannot be attached, what comes by the device is translated as without it, and why is said.
//! Its links are pinned, so it goes on without an agent, and a restarted one swaps the program in one step.

mod wish;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use aya::{
    maps::{HashMap, MapData},
    programs::{ProgramError, Xdp},
};
use node_dp_common::DeviceValue;

use super::{
    DatapathConfig,
    hooks::{HookError, open_if_there, pin_link_in_place},
    interfaces::{self, Interface, VETH},
    netdev,
    object::Programs,
    pins, sys,
};
pub use wish::{FastPath, ParseFastPathError};

/// The program.
const PROGRAM: &str = "isthmus_fast";

/// Flags of an attachment: the kernel runs the program, or the driver does.
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

impl FastPath {
    /// The modes to try, in their order.
    fn modes(self) -> &'static [Mode] {
        match self {
            Self::Off => &[],
            Self::Auto => &[Mode::Native, Mode::Generic],
            Self::Native => &[Mode::Native],
            Self::Generic => &[Mode::Generic],
        }
    }
}

/// Who runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Native,
    Generic,
}

impl Mode {
    fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    fn flags(self) -> u32 {
        match self {
            Self::Native => XDP_FLAGS_DRV_MODE,
            Self::Generic => XDP_FLAGS_SKB_MODE,
        }
    }

    fn pin(self, bpffs: &Path, device: u32) -> PathBuf {
        pins::link(bpffs, &format!("{PROGRAM}_{}-{device}", self.label()))
    }
}

/// What came of it at a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceleration {
    /// `native`, `generic` or `none`.
    pub chosen: &'static str,
    /// Why.
    pub reason: String,
}

impl Acceleration {
    fn none(reason: String) -> Self {
        Self {
            chosen: "none",
            reason,
        }
    }
}

/// The devices with the fast path, and those that go without.
pub(super) struct FastPaths {
    devices: HashMap<MapData, u32, DeviceValue>,
    chosen: BTreeMap<String, Chosen>,
}

#[derive(Debug)]
struct Chosen {
    acceleration: Acceleration,
    attached: Option<Attached>,
}

#[derive(Debug, PartialEq, Eq)]
struct Attached {
    mode: Mode,
    index: u32,
    pin: PathBuf,
    value: DeviceValue,
}

/// Why a mode is not the one.
enum Refusal {
    /// Another mode may do.
    Mode(String),
    /// None will.
    Device(String),
}

impl FastPaths {
    pub(super) fn new(devices: HashMap<MapData, u32, DeviceValue>) -> Self {
        Self {
            devices,
            chosen: BTreeMap::new(),
        }
    }

    /// What came of it at each device.
    pub(super) fn accelerations(&self) -> BTreeMap<String, Acceleration> {
        let chosen = self.chosen.iter();
        chosen
            .map(|(name, chosen)| (name.clone(), chosen.acceleration.clone()))
            .collect()
    }

    /// Where the links are pinned that are in use.
    pub(super) fn pins(&self) -> impl Iterator<Item = &PathBuf> {
        let attached = self.chosen.values().flat_map(|chosen| &chosen.attached);
        attached.map(|attached| &attached.pin)
    }

    /// Attaches the program to a device as the configuration has it.
    pub(super) fn attach(
        &mut self,
        programs: &mut Programs,
        config: &DatapathConfig,
        (name, device): (&str, Interface),
    ) {
        if config.fast_path == FastPath::Off {
            return;
        }
        let chosen = choose(programs, config, (name, device));
        let Acceleration {
            chosen: mode,
            reason,
        } = &chosen.acceleration;
        tracing::info!(device = name, mode, reason, "the fast path of a device");
        self.chosen.insert(name.to_owned(), chosen);
        self.show(name);
    }

    /// The device of a name is gone.
    pub(super) fn forget(&mut self, name: &str) {
        self.chosen.remove(name);
        self.drop_others();
    }

    /// Follows what devices can do, which changes while they are there, and their hardware addresses.
    pub(super) fn follow(&mut self) {
        let names: Vec<String> = self.chosen.keys().cloned().collect();
        for name in names {
            let Some(chosen) = self.chosen.get_mut(&name) else {
                continue;
            };
            let Some(attached) = &mut chosen.attached else {
                continue;
            };
            // One that is gone or another by now is forgotten by whoever follows devices.
            let Ok(Some(device)) = interfaces::find(&name) else {
                continue;
            };
            if device.index != attached.index {
                continue;
            }
            match value_of(&name, device, attached.mode) {
                Ok(value) if value != attached.value => attached.value = value,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(device = name, %error, "cannot ask what the device can do");
                    continue;
                }
            }
            self.show(&name);
        }
    }

    /// Tells the program of a device.
    fn show(&mut self, name: &str) {
        let Some(Chosen {
            attached: Some(attached),
            ..
        }) = self.chosen.get(name)
        else {
            return;
        };
        if let Err(error) = self.devices.insert(attached.index, attached.value, 0) {
            tracing::warn!(device = name, %error, "the fast path does not know the device");
        }
    }

    /// Takes devices that have gone, or are no longer served, out of the program's sight.
    pub(super) fn drop_others(&mut self) {
        let attached = self.chosen.values().flat_map(|chosen| &chosen.attached);
        let known: BTreeSet<u32> = attached.map(|attached| attached.index).collect();
        let there: Vec<u32> = self.devices.keys().filter_map(Result::ok).collect();
        for index in there.iter().filter(|index| !known.contains(index)) {
            if let Err(error) = self.devices.remove(index) {
                tracing::warn!(index, %error, "the fast path still knows a device that is gone");
            }
        }
    }
}

impl fmt::Debug for FastPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastPaths")
            .field("chosen", &self.chosen)
            .finish_non_exhaustive()
    }
}

/// Tries the modes in their order.
fn choose(
    programs: &mut Programs,
    config: &DatapathConfig,
    (name, device): (&str, Interface),
) -> Chosen {
    let without = |reason| Chosen {
        acceleration: Acceleration::none(reason),
        attached: None,
    };
    if !device.is_ethernet {
        return without("its packets have no Ethernet header".to_owned());
    }
    let program = match load(programs) {
        Ok(program) => program,
        Err(error) => return without(format!("the kernel refused the program: {error}")),
    };
    let mut reasons = Vec::new();
    for mode in config.fast_path.modes() {
        match attach(program, config, (name, device), *mode) {
            Ok(attached) => {
                let reason = match reasons.is_empty() {
                    true => reason_for(config.fast_path, *mode).to_owned(),
                    false => reasons.join("; "),
                };
                return Chosen {
                    acceleration: Acceleration {
                        chosen: mode.label(),
                        reason,
                    },
                    attached: Some(attached),
                };
            }
            Err(Refusal::Mode(reason)) => reasons.push(reason),
            Err(Refusal::Device(reason)) => return without(reason),
        }
    }
    without(reasons.join("; "))
}

fn reason_for(wish: FastPath, mode: Mode) -> &'static str {
    match (wish, mode) {
        (FastPath::Auto, Mode::Native) => "its driver runs the program",
        (FastPath::Native | FastPath::Generic | FastPath::Off, _)
        | (FastPath::Auto, Mode::Generic) => "asked for",
    }
}

fn load(programs: &mut Programs) -> Result<&mut Xdp, ProgramError> {
    let program = programs.fast_program(PROGRAM)?;
    if program.fd().is_err() {
        program.load()?;
    }
    Ok(program)
}

/// Attaches the program in a mode, or swaps that of the link that is there.
fn attach(
    program: &Xdp,
    config: &DatapathConfig,
    (name, device): (&str, Interface),
    mode: Mode,
) -> Result<Attached, Refusal> {
    let refused = |error: &dyn fmt::Display| Refusal::Mode(format!("{}: {error}", mode.label()));
    let pin = mode.pin(&config.bpffs, device.index);
    for other in [Mode::Native, Mode::Generic] {
        if other != mode {
            detach(&other.pin(&config.bpffs, device.index)).map_err(|error| refused(&error))?;
        }
    }
    if !swap(program, &pin, device).map_err(|error| refused(&error))? {
        create(program, &pin, device, mode)?;
    }
    let value = value_of(name, device, mode).map_err(|error| refused(&error))?;
    if !value.returns() {
        detach(&pin).map_err(|error| refused(&error))?;
        return Err(Refusal::Mode(
            "native: the other end of the pair takes no frames, or the kernel (before 6.3) does not say whether it does"
                .to_owned(),
        ));
    }
    Ok(Attached {
        mode,
        index: device.index,
        pin,
        value,
    })
}

/// Swaps the program of the link that is pinned; false if there is none, or it is another device's.
fn swap(program: &Xdp, pin: &Path, device: Interface) -> Result<bool, HookError> {
    let Some(link) = open_if_there(pin)? else {
        return Ok(false);
    };
    if sys::link_info(&link)?.device() != device.index {
        return Ok(false);
    }
    sys::update_link(link.as_fd(), program.fd()?.as_fd())?;
    Ok(true)
}

fn create(program: &Xdp, pin: &Path, device: Interface, mode: Mode) -> Result<(), Refusal> {
    let refused = |error: &dyn fmt::Display| Refusal::Mode(format!("{}: {error}", mode.label()));
    let fd = program.fd().map_err(|error| refused(&error))?;
    let link = sys::create_xdp_link(fd.as_fd(), device.index, mode.flags());
    let link = link.map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            Refusal::Device("another XDP program is attached, and stays".to_owned())
        }
        Some(libc::EOPNOTSUPP) => Refusal::Mode("its driver runs no programs".to_owned()),
        _ => refused(&error),
    })?;
    pin_link_in_place(link.as_fd(), pin).map_err(|error| refused(&error))
}

/// Takes our program off where a link is pinned, if there is one.
fn detach(pin: &Path) -> io::Result<()> {
    if let Some(link) = open_if_there(pin)? {
        sys::detach_link(link.as_fd())?;
        fs::remove_file(pin)?;
    }
    Ok(())
}

/// What a device can do in a mode.
///
/// A frame that a driver cannot send is lost without a word, so a driver is only trusted with what the kernel says that it
/// can do; but that a driver which runs programs sends back what came by it is part of running them. Of a veth it is not: it
/// needs the other end's help.
fn value_of(name: &str, device: Interface, mode: Mode) -> io::Result<DeviceValue> {
    let features = netdev::xdp_features(device.index)?.unwrap_or_default();
    let is_taking = features & netdev::TAKES_FRAMES != 0;
    let is_returning = match mode {
        Mode::Generic => true,
        Mode::Native => is_taking || !interfaces::is_driven_by(name, VETH)?,
    };
    let mut value = DeviceValue::new(device.address);
    if is_taking {
        value = value.taking();
    }
    if is_returning {
        value = value.returning();
    }
    Ok(match mode {
        Mode::Generic => value.generic(),
        Mode::Native => value,
    })
}
