//! A client pod: single calls with curl and UDP, and steady traffic whose every call is accounted for.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{lab::Lab, process::Process, wait::wait_until};

/// Which IP a call uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which pod answered, and whom it saw asking.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// The cluster of the pod.
    pub cluster: String,
    /// The node of the pod.
    pub node: String,
    /// The pod.
    pub pod: String,
    /// The address that the pod was asked from.
    pub client: String,
    /// Over UDP: the address that the answer came from.
    pub from: Option<String>,
}

/// A pod that asks the demo's service.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    lab: &'a Lab,
    pod: &'a str,
}

impl<'a> Client<'a> {
    /// A client in a pod, `<cluster>/<pod>`.
    pub fn new(lab: &'a Lab, pod: &'a str) -> Self {
        Self { lab, pod }
    }

    /// Asks over TCP, with a new connection, by address or name.
    pub fn http(&self, host: &str, port: u16, family: Family) -> Result<Answer> {
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let flag = match family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        let url = format!("http://{host}:{port}/");
        let argv = [
            "curl",
            flag,
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "1",
            &url,
        ];
        let text = self.lab.ask(self.pod, argv)?;
        serde_json::from_str(&text).with_context(|| format!("understanding {text}"))
    }

    /// Asks over UDP, by address or name.
    pub fn udp(&self, host: &str, port: u16, family: Family) -> Result<Answer> {
        let family = match family {
            Family::V4 => "4",
            Family::V6 => "6",
        };
        let script = demo_file("ask.py");
        let script = script.to_string_lossy();
        let port = port.to_string();
        let argv = ["python3", &script, host, &port, family];
        let text = self.lab.ask(self.pod, argv)?;
        serde_json::from_str(&text).with_context(|| format!("understanding {text}"))
    }

    /// Asks again and again until exactly these clusters have answered in a row of calls, without a failure.
    pub fn wait_for_clusters(
        &self,
        clusters: &[&str],
        within: Duration,
        call: impl Fn(&Self) -> Result<Answer>,
    ) -> Result<()> {
        let wanted: BTreeSet<_> = clusters.iter().map(|c| (*c).to_owned()).collect();
        let what = format!(
            "{} calls to be answered by {}",
            self.pod,
            clusters.join(" and ")
        );
        wait_until(within, &what, || {
            let mut seen = BTreeSet::new();
            for _ in 0..ENOUGH_CALLS {
                seen.insert(call(self)?.cluster);
            }
            if seen != wanted {
                bail!("answered by {seen:?}");
            }
            Ok(true)
        })
    }

    /// Starts steady traffic of new TCP connections.
    pub fn traffic(
        &self,
        host: &str,
        port: u16,
        interval: Duration,
        timeout: Duration,
    ) -> Result<Traffic> {
        let script = demo_file("calls.py");
        let argv = [
            "python3".to_owned(),
            script.to_string_lossy().into_owned(),
            host.to_owned(),
            port.to_string(),
            interval.as_millis().to_string(),
            timeout.as_millis().to_string(),
        ];
        let mut process = self.lab.spawn(self.pod, argv)?;
        let stdout = process.take_stdout().context("reading the calls")?;
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let recorded = Arc::clone(&calls);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(call) = serde_json::from_str(&line) {
                    lock(&recorded).push(call);
                }
            }
        });
        Ok(Traffic {
            process: Some(process),
            reader: Some(reader),
            calls,
        })
    }
}

/// With two clusters of one and two backends, so many calls miss one of them less than once in 3,000 runs.
const ENOUGH_CALLS: usize = 20;

/// One call of steady traffic.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Call {
    /// When it began, in milliseconds since 1970.
    pub started_unix_ms: f64,
    /// How long it took.
    pub took_ms: f64,
    /// The cluster that answered.
    pub cluster: Option<String>,
    /// The pod that answered.
    pub pod: Option<String>,
    /// Why nobody did.
    pub error: Option<String>,
}

/// Steady traffic that runs until this is dropped.
#[derive(Debug)]
pub struct Traffic {
    process: Option<Process>,
    reader: Option<JoinHandle<()>>,
    /// A leaf: the reader appends, the owner copies.
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Traffic {
    /// The calls that have ended so far, in the order of their ends.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// Waits until so many more calls have succeeded.
    pub fn wait_for_successes(&self, count: usize, within: Duration) -> Result<()> {
        let before = self.calls().len();
        wait_until(within, &format!("{count} more calls succeed"), || {
            let calls = self.calls();
            let new = calls.get(before..).unwrap_or_default();
            Ok(new.iter().filter(|call| call.error.is_none()).count() >= count)
        })
    }

    /// Ends it and hands over all calls.
    pub fn stop(mut self) -> Vec<Call> {
        self.end();
        self.calls()
    }

    /// Ends it; that any call has failed is an error which tells those.
    pub fn stop_unfailed(self) -> Result<()> {
        let calls = self.stop();
        let failed: Vec<_> = calls.iter().filter(|call| call.error.is_some()).collect();
        ensure!(
            failed.is_empty(),
            "of {} calls failed: {failed:?}",
            calls.len()
        );
        Ok(())
    }

    fn end(&mut self) {
        drop(self.process.take());
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(calls: &Mutex<Vec<Call>>) -> std::sync::MutexGuard<'_, Vec<Call>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

fn demo_file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "demo", name].iter().collect()
}
