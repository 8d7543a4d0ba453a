//! The three facts of a port: its number, its name and its protocol.

use cluster_registry::{name::PortName, service::Protocol};

use super::Flaw;

/// Reads a port; a missing protocol is TCP, and an empty name none.
pub(super) fn port(
    number: i32,
    name: Option<&str>,
    protocol: Option<&str>,
) -> Result<(u16, Option<PortName>, Protocol), Flaw> {
    let number = match u16::try_from(number) {
        Ok(checked) if checked > 0 => checked,
        Ok(_) | Err(_) => return Err(Flaw::PortNumber(number)),
    };
    let protocol = match protocol {
        None | Some("" | "TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(other) => return Err(Flaw::Protocol(other.to_owned())),
    };
    let name = match name {
        None | Some("") => None,
        Some(text) => Some(PortName::parse(text).map_err(|fault| Flaw::PortName {
            name: text.to_owned(),
            fault,
        })?),
    };
    Ok((number, name, protocol))
}
