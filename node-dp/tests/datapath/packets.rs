//! Single packets through the programs of devices: what goes in, the verdict, what comes out.

mod affinity;
mod bench;
mod errors;
mod fast;
mod fragments;
mod packet;
mod plain;
mod refusals;
mod track;
mod translation;
