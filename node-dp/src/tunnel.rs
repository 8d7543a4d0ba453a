//! The WireGuard tunnels to the nodes of other clusters, in the kernel or embedded.
