//! What an authority issues and what it refuses.

use super::*;
use crate::identity::identity_of;

#[test]
fn an_issued_certificate_carries_its_id() {
    let authority = authority("td");
    for text in [
        "spiffe://td/cluster/east/gateway",
        "spiffe://td/cluster/east/node/n1",
    ] {
        let id = SpiffeId::parse(text).unwrap();
        let issued = authority.issue(&id, day()).unwrap();

        assert_eq!(identity_of(&[der(&issued.certificate)]), Ok(id));
    }
}

#[test]
fn an_authority_reads_back_what_it_wrote() {
    let authority = authority("td");

    let read = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();

    assert_eq!(read.trust_domain(), authority.trust_domain());
    assert_eq!(read.certificate_pem(), authority.certificate_pem());
    assert!(read.issue(&east("td"), day()).is_ok());
}

#[test]
fn an_authority_does_not_issue_for_another_trust_domain() {
    let refused = authority("td").issue(&east("other"), day());

    assert!(matches!(
        refused,
        Err(AuthorityError::OtherTrustDomain { .. })
    ));
}

#[test]
fn another_authoritys_key_is_refused() {
    let read = Authority::from_pem(
        authority("td").certificate_pem(),
        &authority("td").key_pem(),
    );

    assert!(matches!(read, Err(AuthorityError::KeyMismatch)));
}

#[test]
fn a_leaf_is_no_authority() {
    let leaf = authority("td").issue(&east("td"), day()).unwrap();

    let read = Authority::from_pem(&leaf.certificate, &leaf.key);

    assert!(matches!(read, Err(AuthorityError::NotAnAuthority)));
}

#[test]
fn a_certificate_does_not_outlive_its_authority() {
    let hour = Duration::from_secs(3600);
    let domain = TrustDomain::parse("td").unwrap();
    let authority = Authority::create(domain, Validity::starting(now(), hour)).unwrap();

    let issued = authority.issue(&east("td"), day()).unwrap();

    let der = der(&issued.certificate);
    let certificate = identity::parse(&der).unwrap();
    let not_after = system_time(certificate.validity().not_after.timestamp());
    assert_eq!(not_after, now() + hour);
    let late = Validity::starting(now() + 2 * hour, hour);
    assert!(matches!(
        authority.issue(&east("td"), late),
        Err(AuthorityError::Expired)
    ));
}

#[test]
fn the_validity_asked_for_is_the_one_issued() {
    let issued = authority("td").issue(&east("td"), day()).unwrap();

    let der = der(&issued.certificate);
    let validity = identity::parse(&der).unwrap().validity().clone();
    assert_eq!(
        system_time(validity.not_before.timestamp()),
        now() - CLOCK_SKEW
    );
    assert_eq!(
        system_time(validity.not_after.timestamp()),
        now() + DEFAULT_LEAF_VALIDITY
    );
}

#[test]
fn no_validity_is_beyond_what_certificates_can_express() {
    let domain = TrustDomain::parse("td").unwrap();
    let millennia = Duration::from_secs(20_000 * 365 * 24 * 3600);

    let authority = Authority::create(domain, Validity::starting(now(), millennia)).unwrap();

    let der = der(authority.certificate_pem());
    let not_after = identity::parse(&der).unwrap().validity().not_after;
    assert_eq!(not_after.timestamp().cast_unsigned(), MAX_UNIX_SECONDS);
}

/// Any whole second, for certificates know no fractions.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn authority(trust_domain: &str) -> Authority {
    let domain = TrustDomain::parse(trust_domain).unwrap();
    Authority::create(
        domain,
        Validity::starting(now(), DEFAULT_AUTHORITY_VALIDITY),
    )
    .unwrap()
}

fn day() -> Validity {
    Validity::starting(now(), DEFAULT_LEAF_VALIDITY)
}

fn east(trust_domain: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://{trust_domain}/cluster/east/gateway")).unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
