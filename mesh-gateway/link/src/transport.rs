//! How QUIC is set up for sessions: few streams, small windows, and the session's own heartbeats.

use std::{sync::Arc, time::Duration};

use certs::{
    credentials::Credentials,
    tls::{Expectation, TlsError, client_config, server_config},
};
use quinn::{
    TransportConfig, VarInt,
    crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig},
};

/// How long QUIC keeps a connection that says nothing; sessions notice silence much earlier by themselves.
const IDLE_TIMEOUT_MS: u32 = 10_000;

/// What is assumed of the round trip before it is measured: a lost first packet is sent again after three times this.
///
/// RFC 9002 says 333 ms, with which a path that heals is noticed a second later than need be.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How many streams each side opens for its state: urgent updates, others, and snapshots.
const STATE_STREAMS: u32 = 3;

/// How much of a stream may be under way: 10 MB/s at a round trip of 100 ms, and all that a peer can make us hold.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// All streams together: one of snapshots that waits to be taken leaves the others their windows.
const CONNECTION_WINDOW_BYTES: u32 = STATE_STREAMS * STREAM_WINDOW_BYTES + 64 * 1024;

/// How much of what is sent may wait to be acknowledged, all streams together; also what is sent again when it is lost.
const SEND_WINDOW_BYTES: u64 = 1024 * 1024 + 64 * 1024;

/// Why credentials make no QUIC configuration.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// They make no TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The TLS configuration lacks the cipher suite of QUIC's first packets.
    #[error("the TLS configuration cannot be used for QUIC")]
    Quic(#[from] NoInitialCipherSuite),
}

/// The configuration of an accepting endpoint.
pub(crate) fn server(credentials: &Credentials) -> Result<quinn::ServerConfig, TransportError> {
    let tls = QuicServerConfig::try_from(server_config(credentials)?)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport(1)));
    // A peer whose address changes dials anew: a session belongs to one path.
    config.migration(false);
    Ok(config)
}

/// The configuration of a connection to a gateway of one cluster.
pub(crate) fn client(
    credentials: &Credentials,
    expected: Expectation,
) -> Result<quinn::ClientConfig, TransportError> {
    let tls = QuicClientConfig::try_from(client_config(credentials, expected)?)?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport(0)));
    Ok(config)
}

/// The dialer opens the control stream, and each side the streams of its own state.
///
/// The limits are exact, since quinn makes room for every stream that it allows, and nobody has a use for more.
fn transport(control_streams: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(control_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(STATE_STREAMS))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None);
    config
}
