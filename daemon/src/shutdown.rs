//! Turns the signals that end a daemon into one token that all its tasks watch.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that SIGTERM or SIGINT cancels; must be called within a runtime.
pub fn on_signal() -> io::Result<CancellationToken> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    tokio::spawn(cancel_on(terminate, "SIGTERM", token.clone()));
    tokio::spawn(cancel_on(interrupt, "SIGINT", token.clone()));
    Ok(token)
}

async fn cancel_on(mut signal: Signal, name: &'static str, token: CancellationToken) {
    tokio::select! {
        _ = signal.recv() => {
            tracing::info!(signal = name, "shutting down");
            token.cancel();
        }
        () = token.cancelled() => {}
    }
}
