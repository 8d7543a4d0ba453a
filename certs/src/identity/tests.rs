//! Ids as text.

use proptest::prelude::*;

use super::*;

#[test]
fn an_id_reads_back_what_it_prints() {
    for text in [
        "spiffe://cluster.local/cluster/east/gateway",
        "spiffe://corp_1.example/cluster/east-2/node/ip-10-0-0-1.ec2.internal",
    ] {
        assert_eq!(SpiffeId::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn a_gateway_and_a_node_of_that_name_are_different() {
    let gateway = SpiffeId::parse("spiffe://td/cluster/east/gateway").unwrap();
    let node = SpiffeId::parse("spiffe://td/cluster/east/node/gateway").unwrap();

    assert_eq!(gateway.role, Role::Gateway);
    assert_ne!(gateway, node);
}

#[test]
fn what_is_no_id_of_ours_is_refused() {
    for bad in [
        "",
        "spiffe://",
        "spiffe://td",
        "spiffe://td/",
        "https://td/cluster/east/gateway",
        "SPIFFE://td/cluster/east/gateway",
        "spiffe:///cluster/east/gateway",
        "spiffe://TD/cluster/east/gateway",
        "spiffe://td:1/cluster/east/gateway",
        "spiffe://user@td/cluster/east/gateway",
        "spiffe://td/cluster/east",
        "spiffe://td/cluster/east/",
        "spiffe://td/cluster/east/gateway/",
        "spiffe://td//cluster/east/gateway",
        "spiffe://td/cluster/east/gateway?x=1",
        "spiffe://td/cluster/east/gateway#x",
        "spiffe://td/cluster/../gateway",
        "spiffe://td/cluster/e%61st/gateway",
        "spiffe://td/cluster/East/gateway",
        "spiffe://td/cluster/east/node",
        "spiffe://td/cluster/east/node/",
        "spiffe://td/cluster/east/node/..",
        "spiffe://td/cluster/east/node/a/b",
        "spiffe://td/cluster/east/root",
        "spiffe://td/ns/default/sa/web",
    ] {
        assert!(SpiffeId::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_trust_domain_has_at_most_255_bytes() {
    assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
    assert!(TrustDomain::parse(&"a".repeat(256)).is_err());
}

#[test]
fn what_is_no_certificate_has_no_identity() {
    assert_eq!(identity_of(&[]), Err(IdentityError::Missing));
    let garbage = CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01]);
    assert_eq!(identity_of(&[garbage]), Err(IdentityError::Malformed));
}

proptest! {
    #[test]
    fn any_text_is_an_id_that_prints_the_same_or_an_error(text in "(spiffe://)?[a-z./0-9-]{0,40}(/cluster/[a-z.-]{0,9}/(gateway|node/[a-z./]{0,9}))?") {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn any_bytes_are_a_certificate_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(identity_of(&[CertificateDer::from(bytes)]).is_err());
    }
}
