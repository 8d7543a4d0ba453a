//! Tests of the dns.
