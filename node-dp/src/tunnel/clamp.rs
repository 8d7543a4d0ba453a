//! Lets both ends of a TCP connection through the tunnel hear of segments no larger than what fits it (MSS clamping).
//!
//! The program is a filter of the device, on kernels with TCX too: it stays on a device that outlives the agent without a pin,
//! and a restarted agent swaps it in one step.

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{Array, MapData, MapError},
    programs::{ProgramError, SchedClassifier, TcAttachType, tc::TcHandle},
};

use crate::filter::{self, FilterError, Place};

/// The program, as the build script left it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/clamp.o"));

const PROGRAM: &str = "isthmus_clamp";
const MAP: &str = "TUNNEL_MTU";

/// Behind the programs that translate.
const PLACE: Place = Place {
    priority: 2,
    handle: TcHandle::new(0, 0x16),
};

/// Why segments are not clamped.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClampError {
    /// The kernel refused the program's map.
    #[error("the kernel refused the map of the clamp")]
    Load(#[from] EbpfError),
    /// The map is not usable.
    #[error("the map of the clamp is not usable")]
    Map(#[from] MapError),
    /// The kernel refused the program.
    #[error("the kernel refused the clamp")]
    Program(#[from] ProgramError),
    /// It is no filter of the device.
    #[error("the clamp cannot be attached to the device")]
    Attach(#[from] FilterError),
    /// The object file lacks a part.
    #[error("the clamp comes without {0}")]
    Missing(&'static str),
}

/// The clamp of a device; it stays when this goes.
pub(super) struct Clamp {
    mtu: Array<MapData, u32>,
}

impl Clamp {
    /// Attaches the program to a device without link headers, in both directions, in place of that of a former run.
    pub(super) fn attach(device: &str, mtu: u16) -> Result<Self, ClampError> {
        let mut ebpf = EbpfLoader::new()
            .verifier_log_level(VerifierLogLevel::DISABLE)
            .load(OBJECT)?;
        let map = ebpf.take_map(MAP).ok_or(ClampError::Missing(MAP))?;
        let mut clamp = Self {
            mtu: Array::try_from(map)?,
        };
        clamp.set_mtu(mtu)?;
        let program = program(&mut ebpf)?;
        program.load()?;
        for direction in [TcAttachType::Egress, TcAttachType::Ingress] {
            filter::attach(program, device, direction, PLACE)?;
        }
        Ok(clamp)
    }

    /// Follows the device's MTU.
    pub(super) fn set_mtu(&mut self, mtu: u16) -> Result<(), ClampError> {
        Ok(self.mtu.set(0, u32::from(mtu), 0)?)
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, ClampError> {
    let program = ebpf.program_mut(PROGRAM);
    let program = program.ok_or(ClampError::Missing(PROGRAM))?;
    Ok(program.try_into()?)
}
