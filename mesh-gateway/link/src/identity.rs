//! Who is at the other end of a connection, as its verified certificate says.

use std::time::SystemTime;

use certs::identity::{SpiffeId, expiry_of, identity_of};
use quinn::Connection;
use rustls::pki_types::CertificateDer;

/// What a peer's certificate says.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Who the peer is.
    pub(crate) id: SpiffeId,
    /// Until when the certificate counts.
    pub(crate) expires: SystemTime,
}

/// What the peer's certificate says; `None` when there is none, which the TLS verifiers do not let happen.
pub(crate) fn of(connection: &Connection) -> Option<Shown> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Some(Shown {
        id: identity_of(&chain).ok()?,
        expires: expiry_of(&chain).ok()?,
    })
}
