//! Loads, pins and fills the kernel programs and their maps.
