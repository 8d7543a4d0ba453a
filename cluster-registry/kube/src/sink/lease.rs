//! The Lease object behind the election: reads it, and writes what the election decides.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};

use super::election::{Decision, Election, LEASE_DURATION, RENEW_INTERVAL, Record};

/// The Lease's name.
pub(super) const NAME: &str = "isthmus-gateway";

/// Reads and writes the Lease.
pub(super) struct LeaseClient {
    api: Api<Lease>,
    namespace: String,
    identity: String,
}

impl LeaseClient {
    pub(super) fn new(client: Client, namespace: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// Lets the election see the Lease, and writes what it decides; what fails is tried in the next turn.
    pub(super) async fn take_turn(&self, election: &mut Election) {
        // An API server that does not answer must not hold up that leading ends.
        let turn = tokio::time::timeout(RENEW_INTERVAL, self.try_turn(election));
        match turn.await {
            Ok(Ok(())) => {}
            // Another replica was faster.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                tracing::debug!(%status, "the lease has changed meanwhile");
            }
            Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be read or written"),
            Err(_) => tracing::warn!("the API server does not answer about the lease"),
        }
    }

    async fn try_turn(&self, election: &mut Election) -> kube::Result<()> {
        let lease = self.api.get_opt(NAME).await?;
        let began = Instant::now();
        let decision = election.handle_lease(lease.as_ref().map(record), began);
        let transitions = match decision {
            Decision::Wait => return Ok(()),
            Decision::Create => 0,
            Decision::Take(transitions) => transitions,
            Decision::Renew => lease
                .as_ref()
                .map(record)
                .map_or(0, |record| record.transitions),
        };
        let is_change = decision != Decision::Renew;
        match lease {
            None => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(NAME.to_owned()),
                        namespace: Some(self.namespace.clone()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(self.spec(None, is_change, transitions)),
                };
                self.api.create(&PostParams::default(), &lease).await?;
            }
            Some(mut lease) => {
                let old = lease.spec.take();
                lease.spec = Some(self.spec(old, is_change, transitions));
                self.api
                    .replace(NAME, &PostParams::default(), &lease)
                    .await?;
            }
        }
        election.handle_written(began);
        Ok(())
    }

    /// Lets another replica take over at once.
    pub(super) async fn give_back(&self) {
        let given = tokio::time::timeout(RENEW_INTERVAL, self.try_give_back());
        if let Ok(Err(error)) = given.await {
            tracing::debug!(%error, "the lease was not given back; it ends by itself");
        }
    }

    async fn try_give_back(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            return Ok(());
        };
        if record(&lease).holder != self.identity {
            return Ok(());
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        self.api
            .replace(NAME, &PostParams::default(), &lease)
            .await?;
        Ok(())
    }

    fn spec(&self, old: Option<LeaseSpec>, is_change: bool, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let acquired = old.and_then(|old| old.acquire_time).filter(|_| !is_change);
        LeaseSpec {
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            lease_transitions: Some(transitions),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .and_then(|s| u64::try_from(s).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: seconds.map_or(LEASE_DURATION, Duration::from_secs),
        renewed: spec
            .renew_time
            .map(|time| time.0.to_string())
            .unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
