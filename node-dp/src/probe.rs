//! Sends and answers path probes through the tunnels.
