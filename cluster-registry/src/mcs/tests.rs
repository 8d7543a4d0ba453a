//! Tests of imports: which export wins, what conflicts are told, and how addresses are handed out.

mod addresses;
mod conflicts;
