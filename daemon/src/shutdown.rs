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

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;

    #[tokio::test]
    async fn sigterm_cancels_the_token() {
        let token = on_signal().unwrap();
        let own_id = std::process::id().to_string();

        let sent = Command::new("kill").args(["-TERM", &own_id]).status();

        assert!(sent.unwrap().success());
        let ended = tokio::time::timeout(Duration::from_secs(10), token.cancelled()).await;
        assert!(ended.is_ok());
    }
}
