//! Who is at the other end of a connection, as its verified certificate says.

use certs::identity::{SpiffeId, identity_of};
use quinn::Connection;
use rustls::pki_types::CertificateDer;

/// The peer's identity; `None` when there is none, which the TLS verifiers do not let happen.
pub(crate) fn of(connection: &Connection) -> Option<SpiffeId> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    identity_of(&chain).ok()
}
