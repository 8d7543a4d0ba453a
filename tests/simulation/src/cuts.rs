//! Cuts a connection at every step of an exchange, in every way, and looks whether anything is lost.

use cluster_registry::service::Sharing;

use crate::{
    plan::{Change, Happening, Memory, Plan},
    world::{Failure, World},
};

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Both ends soon know.
    Reset,
    /// Only the end that dialled knows.
    LostByDialer,
    /// Only the end that was dialled knows.
    LostByListener,
    /// Nothing arrives any more at either end, until the sessions have ended of silence.
    Silence,
    /// Nothing arrives any more at the end that dialled.
    SilenceAtDialer,
    /// Nothing arrives any more at the end that was dialled.
    SilenceAtListener,
    /// The gateway that dialled dies, and starts anew.
    DeathOfDialer(Memory),
    /// The gateway that was dialled dies, and starts anew.
    DeathOfListener(Memory),
}

const CUTS: [Cut; 10] = [
    Cut::Reset,
    Cut::LostByDialer,
    Cut::LostByListener,
    Cut::Silence,
    Cut::SilenceAtDialer,
    Cut::SilenceAtListener,
    Cut::DeathOfDialer(Memory::Nothing),
    Cut::DeathOfDialer(Memory::Imports),
    Cut::DeathOfListener(Memory::Nothing),
    Cut::DeathOfListener(Memory::Imports),
];

/// How much was cut.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cuts {
    /// The steps of the exchanges: pieces of streams that arrive, cut at any byte.
    pub steps: u64,
    /// Connections that were cut, each in a world of its own.
    pub cuts: u64,
}

/// Cuts at every step of a first exchange, and of one that resumes, in every way.
pub fn every_step() -> Result<Cuts, Failure> {
    let mut total = Cuts::default();
    for is_resumed in [false, true] {
        let steps = steps_of(is_resumed)?;
        total.steps += steps;
        for step in 0..=steps {
            for cut in CUTS {
                cut_at(is_resumed, step, cut).map_err(|failure| Failure {
                    what: format!(
                        "cut at step {step} of {steps} by {cut:?}, resumed: {is_resumed}: {}",
                        failure.what
                    ),
                    ..failure
                })?;
                total.cuts += 1;
            }
        }
    }
    Ok(total)
}

/// A world just before the exchange.
fn begin(is_resumed: bool) -> Result<World, Failure> {
    let mut plan = Plan::pair();
    let filling = std::mem::take(&mut plan.happenings);
    let mut world = World::new(1, plan);
    for (_, happening) in filling {
        world.happen(happening);
    }
    if is_resumed {
        world.settle()?;
        world.happen(Happening::Reset(DIALER, LISTENER));
        change(&mut world);
    }
    Ok(world)
}

fn steps_of(is_resumed: bool) -> Result<u64, Failure> {
    let mut world = begin(is_resumed)?;
    let before = world.chunks;
    world.settle()?;
    Ok(world.chunks - before)
}

fn cut_at(is_resumed: bool, step: u64, cut: Cut) -> Result<(), Failure> {
    let mut world = begin(is_resumed)?;
    let at = world.chunks + step;
    world.run_until_chunks(at)?;
    world.happen(match cut {
        Cut::Reset => Happening::Reset(DIALER, LISTENER),
        Cut::LostByDialer => Happening::Lose(DIALER, LISTENER),
        Cut::LostByListener => Happening::Lose(LISTENER, DIALER),
        Cut::Silence => Happening::Cut(DIALER, LISTENER),
        Cut::SilenceAtDialer => Happening::CutOneWay(LISTENER, DIALER),
        Cut::SilenceAtListener => Happening::CutOneWay(DIALER, LISTENER),
        Cut::DeathOfDialer(memory) => death(DIALER, memory),
        Cut::DeathOfListener(memory) => death(LISTENER, memory),
    });
    change(&mut world);
    world.run_until(world.now + crate::HEARTBEAT_INTERVAL * 5)?;
    world.happen(Happening::HealAll);
    world.settle()
}

/// What is deleted, changed and made while the connection is cut.
fn change(world: &mut World) {
    let sharing = Sharing {
        global: true,
        shared: true,
        ..Sharing::default()
    };
    for cluster in [DIALER, LISTENER] {
        for change in [
            Change::ServiceGone(0),
            Change::Service(1, sharing),
            Change::Rollout(1),
            Change::EndpointGone(2, 1),
            Change::NodeGone(1),
            Change::Tunnel(0),
        ] {
            world.happen(Happening::Change(cluster, change));
        }
    }
}

fn death(gateway: usize, memory: Memory) -> Happening {
    Happening::Restart {
        gateway,
        is_graceful: false,
        memory,
        down: crate::HEARTBEAT_INTERVAL,
    }
}

/// The side whose name sorts first dials.
const DIALER: usize = 0;
const LISTENER: usize = 1;
