//! Reads the values of flags that are more than text.

use std::time::Duration;

use cluster_registry::link::PeerAddress;

use super::ConfigError;
use crate::{datapath::MapSizes, tunnel};

/// The shortest lifetime of a tunnel's key.
const SHORTEST_KEY_LIFETIME: Duration = Duration::from_secs(60);

pub(super) fn parse_gateway(text: &str) -> Result<PeerAddress, ConfigError> {
    text.parse()
        .map_err(|error| ConfigError::Gateway(text.to_owned(), error))
}

pub(super) fn parse_sizes(texts: &[String]) -> Result<MapSizes, ConfigError> {
    let mut sizes = MapSizes::default();
    for text in texts {
        let written = text.split_once('=');
        let parsed = written.and_then(|(name, entries)| Some((name, entries.parse().ok()?)));
        let (name, entries) = parsed.ok_or_else(|| ConfigError::MapSize(text.clone()))?;
        let set = sizes.set(name, entries);
        set.map_err(|error| ConfigError::SetMapSize(text.clone(), error))?;
    }
    Ok(sizes)
}

pub(super) fn parse_tunnel(text: &str) -> Result<Option<tunnel::Mode>, ConfigError> {
    if text == "off" {
        return Ok(None);
    }
    match text.parse() {
        Ok(mode) => Ok(Some(mode)),
        Err(tunnel::ParseModeError { .. }) => Err(ConfigError::Tunnel(text.to_owned())),
    }
}

pub(super) fn parse_lifetime(lifetime: Duration) -> Result<Option<Duration>, ConfigError> {
    if lifetime.is_zero() {
        return Ok(None);
    }
    if lifetime < SHORTEST_KEY_LIFETIME {
        return Err(ConfigError::TunnelKeyLifetime);
    }
    Ok(Some(lifetime))
}
