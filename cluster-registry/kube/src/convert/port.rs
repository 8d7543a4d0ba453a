//! The three facts of a port: its number, its name and its protocol.

use cluster_registry::{name::PortName, service::Protocol};

use super::Flaw;

/// The longest application protocol: a qualified name, 253 and 63 bytes with a slash between them.
const MAX_APP_PROTOCOL_BYTES: usize = 317;

/// Reads an application's protocol, which is for those who know it to interpret.
pub(super) fn app_protocol<'a>(text: Option<&'a str>, flaws: &mut Vec<Flaw>) -> Option<&'a str> {
    let text = text.filter(|text| !text.is_empty())?;
    let is_taken =
        text.len() <= MAX_APP_PROTOCOL_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
    if !is_taken {
        flaws.push(Flaw::Label {
            role: "appProtocol",
            text: text.chars().take(MAX_APP_PROTOCOL_BYTES).collect(),
        });
    }
    is_taken.then_some(text)
}

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
