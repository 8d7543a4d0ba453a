//! Clients in pods and on nodes: a process each, that makes many calls at once.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::{ChildStdin, ChildStdout},
    time::Duration,
};

use multicluster::{Lab, Process};
use serde_json::{Value, json};

/// How long an answer may take at first, while what is asked for may not have come about; then twice as long each time.
const FIRST_PATIENCE: Duration = Duration::from_millis(100);

/// How long it may take at most, and where it is asked for once.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long is waited where nobody should answer.
const SHORT_PATIENCE: Duration = Duration::from_millis(300);

/// What kind of socket is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    /// A socket for datagrams that names its peer with each.
    Unconnected,
}

impl Kind {
    /// The two that services tell apart.
    pub(crate) const PROTOCOLS: [Self; 2] = [Self::Tcp, Self::Udp];

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp | Self::Unconnected => "udp",
        }
    }
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    said: Value,
    /// Who must seem to answer.
    place: SocketAddr,
    /// Whether many such calls may be made at once.
    is_repeatable: bool,
}

impl Call {
    /// Asks from a new socket.
    pub(crate) fn new(kind: Kind, place: SocketAddr) -> Self {
        Self {
            said: json!({"op": kind.name()}),
            place,
            is_repeatable: true,
        }
        .to(kind)
    }

    /// Opens a socket, asks, and keeps it under a name.
    pub(crate) fn open(name: &str, kind: Kind, place: SocketAddr) -> Self {
        Self {
            said: json!({"op": "open", "name": name, "kind": kind.name()}),
            place,
            is_repeatable: false,
        }
        .to(kind)
    }

    /// Asks by the socket that was kept under a name.
    pub(crate) fn say(name: &str, place: SocketAddr) -> Self {
        Self {
            said: json!({"op": "say", "name": name, "patience": PATIENCE.as_secs_f64()}),
            place,
            is_repeatable: false,
        }
    }

    /// Calls for ever, under a name.
    pub(crate) fn traffic(name: &str, place: SocketAddr) -> Self {
        Self {
            said: json!({"op": "traffic", "name": name}),
            place,
            is_repeatable: false,
        }
        .to(Kind::Tcp)
    }

    /// How far that has come.
    pub(crate) fn count(name: &str, place: SocketAddr) -> Self {
        let said = json!({"op": "count", "name": name});
        Self {
            said,
            place,
            is_repeatable: false,
        }
    }

    /// Ends it.
    pub(crate) fn stop(name: &str, place: SocketAddr) -> Self {
        let said = json!({"op": "stop", "name": name});
        Self {
            said,
            place,
            is_repeatable: false,
        }
    }

    /// With a text for whoever answers.
    pub(crate) fn saying(mut self, text: &str) -> Self {
        self.said["text"] = text.into();
        self
    }

    fn with_patience(mut self, patience: Duration) -> Self {
        self.said["patience"] = patience.as_secs_f64().into();
        self
    }

    fn to(mut self, kind: Kind) -> Self {
        self.said["host"] = self.place.ip().to_string().into();
        self.said["port"] = self.place.port().into();
        self.said["connected"] = (kind != Kind::Unconnected).into();
        self.said["patience"] = PATIENCE.as_secs_f64().into();
        self
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answer {
        /// Who answered, at which port of its own, and as whom it sees the client.
        pod: String,
        port: u16,
        client: IpAddr,
        /// Whom the client sees.
        peer: SocketAddr,
    },
    /// The name of an error, and its number.
    Error(String, Option<i64>),
    /// How many calls have succeeded, and how the others failed.
    Count(u64, Vec<String>),
}

impl Outcome {
    fn of(said: &Value) -> Option<Self> {
        let text = |name: &str| said[name].as_str();
        if let Some(error) = text("error") {
            return Some(Self::Error(error.to_owned(), said["errno"].as_i64()));
        }
        if let Some(succeeded) = said["succeeded"].as_u64() {
            let failed = said["failed"].as_array()?.iter();
            let failed = failed.map(ToString::to_string).collect();
            return Some(Self::Count(succeeded, failed));
        }
        let number = |name: &str| u16::try_from(said[name].as_u64()?).ok();
        let ip = |name: &str| Some(text(name)?.parse::<IpAddr>().ok()?.to_canonical());
        Some(Self::Answer {
            pod: text("pod")?.to_owned(),
            port: number("port")?,
            client: ip("client")?,
            peer: SocketAddr::new(ip("peer")?, number("peer_port")?),
        })
    }
}

/// What should come of a call.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// Of many calls, each of these pods answers some and nobody else any.
    Pods(Vec<&'static str>),
    /// One and the same of these answers all of many calls.
    OneOf(Vec<&'static str>),
    /// The pod answers, and sees this client.
    Seeing(&'static str, IpAddr),
    /// The pod answers at a port of its own.
    At(&'static str, u16),
    /// Refused at once.
    Refused,
    /// No answer, whatever comes instead.
    Nobody,
    /// The socket is ended from below.
    Ended,
}

/// So many calls miss one of two pods less than once in a thousand times, and then they are made again.
const MANY: usize = 10;

/// And so many show that there is one alone.
const FEW: usize = 2;

impl Wanted {
    /// The call, as often and in the way that shows it; attempts count from zero.
    fn calls(&self, call: &Call, attempt: u32) -> Vec<Call> {
        let times = match self {
            Self::Pods(pods) if pods.len() == 1 => FEW,
            Self::Pods(_) | Self::OneOf(_) => MANY,
            Self::Seeing(..) | Self::At(..) | Self::Refused | Self::Nobody | Self::Ended => 1,
        };
        let patience = match self {
            Self::Nobody => SHORT_PATIENCE,
            Self::Pods(_)
            | Self::OneOf(_)
            | Self::Seeing(..)
            | Self::At(..)
            | Self::Refused
            | Self::Ended => PATIENCE.min(FIRST_PATIENCE * 2_u32.pow(attempt.min(8))),
        };
        let call = call.clone().with_patience(patience);
        let times = if call.is_repeatable { times } else { 1 };
        vec![call; times]
    }

    fn is_met_by(&self, call: &Call, outcomes: &[Outcome]) -> bool {
        let all = |is_fine: &dyn Fn(&str, u16, IpAddr) -> bool| {
            outcomes.iter().all(|outcome| match outcome {
                Outcome::Answer {
                    pod,
                    port,
                    client,
                    peer,
                } => *peer == call.place && is_fine(pod, *port, *client),
                Outcome::Error(..) | Outcome::Count(..) => false,
            })
        };
        let errors = |is_fine: &dyn Fn(&str) -> bool| {
            outcomes.iter().all(|outcome| match outcome {
                Outcome::Error(name, _) => is_fine(name),
                Outcome::Answer { .. } | Outcome::Count(..) => false,
            })
        };
        let has = |wanted: &str| {
            outcomes.iter().any(|outcome| match outcome {
                Outcome::Answer { pod, .. } => pod == wanted,
                Outcome::Error(..) | Outcome::Count(..) => false,
            })
        };
        match self {
            Self::Pods(pods) => {
                all(&|pod, _, _| pods.contains(&pod))
                    && (outcomes.len() == 1 || pods.iter().all(|pod| has(pod)))
            }
            Self::OneOf(pods) => pods.iter().any(|one| all(&|pod, _, _| pod == *one)),
            Self::Seeing(one, seen) => all(&|pod, _, client| pod == *one && client == *seen),
            Self::At(one, at) => all(&|pod, port, _| pod == *one && port == *at),
            Self::Refused => errors(&|name| name == "ConnectionRefusedError"),
            Self::Nobody => errors(&|_| true),
            Self::Ended => errors(&|name| name == "ConnectionAbortedError"),
        }
    }
}

/// A process that makes calls; it ends when this is dropped.
pub(crate) struct Client {
    _process: Process,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Client {
    /// A client in a pod, `<cluster>/<pod>`.
    pub(crate) fn in_pod(lab: &Lab, pod: &str) -> Self {
        Self::of(lab.spawn(pod, argv()).unwrap())
    }

    /// A client in the network of a node of east.
    pub(crate) fn on_node(lab: &Lab, node: &str) -> Self {
        Self::of(lab.spawn_on_node("east", node, argv()).unwrap())
    }

    fn of(mut process: Process) -> Self {
        let stdin = process.take_stdin().unwrap();
        let stdout = BufReader::new(process.take_stdout().unwrap()).lines();
        Self {
            _process: process,
            stdin,
            stdout,
        }
    }

    /// Makes calls, all at once.
    pub(crate) fn make(&mut self, calls: &[Call]) -> Vec<Outcome> {
        let said: Vec<&Value> = calls.iter().map(|call| &call.said).collect();
        writeln!(
            self.stdin,
            "{}",
            Value::from_iter(said.into_iter().cloned())
        )
        .unwrap();
        let line = self.stdout.next().expect("the client lives").unwrap();
        let outcomes: Vec<Value> = serde_json::from_str(&line).unwrap();
        let outcomes = outcomes.iter().map(|said| {
            Outcome::of(said).unwrap_or_else(|| Outcome::Error(format!("said {said}"), None))
        });
        outcomes.collect()
    }

    /// Makes each call as its wish asks for, all at once, and tells which wishes are met, or else what came.
    pub(crate) fn try_all(
        &mut self,
        wishes: &[(&Call, &Wanted)],
        attempt: u32,
    ) -> Vec<Result<(), Vec<Outcome>>> {
        let calls: Vec<Vec<Call>> = wishes
            .iter()
            .map(|(call, wanted)| wanted.calls(call, attempt))
            .collect();
        let mut outcomes = self.make(&calls.concat()).into_iter();
        let results = wishes.iter().zip(&calls).map(|((call, wanted), calls)| {
            let own: Vec<Outcome> = outcomes.by_ref().take(calls.len()).collect();
            if wanted.is_met_by(call, &own) {
                Ok(())
            } else {
                Err(own)
            }
        });
        results.collect()
    }
}

fn argv() -> [String; 2] {
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/behaviours/client.py"]
        .iter()
        .collect();
    ["python3".to_owned(), script.to_string_lossy().into_owned()]
}
