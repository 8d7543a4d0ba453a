//! Gives the node another tunnel key when its time has come, and announces which keys it has.

use std::{net::IpAddr, path::PathBuf, time::Instant};

use cluster_registry::node;
use node_dp_core::{
    probe_address::probe_address,
    tunnel::rotation::{Rotation, Step},
};
use tokio::sync::watch;

use super::DeviceSettings;
use crate::{
    config::Config,
    tunnel::{self, PrivateKey, Tunnel},
};

/// The node's key, and the one that is to follow it.
pub(crate) struct Keys {
    rotation: Rotation,
    state_dir: PathBuf,
    next: Option<PrivateKey>,
    announced: watch::Sender<Option<node::Tunnel>>,
}

impl Keys {
    /// For the key in the state directory; `announced` is what others know of it, and is kept true.
    pub(crate) fn new(
        key: &PrivateKey,
        config: &Config,
        announced: watch::Sender<Option<node::Tunnel>>,
    ) -> Self {
        let age = tunnel::key_age(&config.state_dir);
        let lifetime = config.tunnel_key_lifetime;
        Self {
            rotation: Rotation::new(lifetime, &key.public_key(), age, Instant::now()),
            state_dir: config.state_dir.clone(),
            next: None,
            announced,
        }
    }

    /// Somebody wants another key now.
    pub(super) fn handle_request(&mut self) {
        self.rotation.handle_request(Instant::now());
    }

    /// When [`Self::step`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.rotation.poll_timeout()
    }

    /// Does what is due; true if the device has another key now. An error says that the node has one and the device, which
    /// is to be opened anew, has not.
    pub(super) async fn step(
        &mut self,
        tunnel: &mut Tunnel,
        settings: &mut DeviceSettings,
    ) -> Result<bool, ()> {
        match self.rotation.handle_timeout(Instant::now()) {
            None => Ok(false),
            Some(Step::Announce) => {
                self.announce();
                Ok(false)
            }
            Some(Step::Switch) => self.switch(tunnel, settings).await,
        }
    }

    fn announce(&mut self) {
        match PrivateKey::generate() {
            Ok(key) => {
                let public_key = key.public_key();
                tracing::info!(key = %public_key, "the tunnel's next key is announced");
                self.tell(|tunnel| tunnel.next_public_key = Some(public_key));
                self.next = Some(key);
            }
            Err(error) => self.give_up(error),
        }
    }

    async fn switch(
        &mut self,
        tunnel: &mut Tunnel,
        settings: &mut DeviceSettings,
    ) -> Result<bool, ()> {
        let Some(key) = self.next.take() else {
            return Ok(false);
        };
        // Stored first: a node that is started again must not come back with the key that it has just left.
        if let Err(error) = tunnel::replace_key(&self.state_dir, &key) {
            self.give_up(error);
            return Ok(false);
        }
        let set = tunnel.set_key(&key).await;
        let public_key = key.public_key();
        settings.key = key;
        self.rotation.handle_switched(&public_key, Instant::now());
        self.tell(|tunnel| {
            tunnel.public_key = public_key;
            tunnel.probe_address = IpAddr::V6(probe_address(&public_key));
            tunnel.next_public_key = None;
        });
        if let Err(error) = set {
            let error = anyhow::Error::new(error);
            tracing::error!(
                error = format!("{error:#}"),
                "the device refused its next key"
            );
            return Err(());
        }
        tracing::info!(key = %public_key, "the tunnel uses its next key");
        Ok(true)
    }

    fn give_up(&mut self, error: tunnel::KeyError) {
        let error = anyhow::Error::new(error);
        tracing::error!(
            error = format!("{error:#}"),
            "the tunnel's key stays, as there is no next one"
        );
        self.next = None;
        self.tell(|tunnel| tunnel.next_public_key = None);
        self.rotation.handle_failure(Instant::now());
    }

    fn tell(&self, change: impl FnOnce(&mut node::Tunnel)) {
        self.announced.send_modify(|announced| {
            if let Some(tunnel) = announced {
                change(tunnel);
            }
        });
    }
}
