//! Tests of the settings: what a link's text means, and which flags do not fit together.

use clap::Parser;
use cluster_registry::{import::Namespaces, link::Dial, name::Namespace};

use super::*;

#[test]
fn a_link_says_where_its_peer_is_and_what_it_may_announce() {
    let config = config(&[
        "--link",
        "name=west,address=192.0.2.2:4700,address=[2001:db8::2]:4700,dial=always,\
         namespaces=shop+bank,cidrs=10.2.0.0/16+fd00:2::/48",
    ])
    .unwrap();

    let [link] = &config.links[..] else {
        panic!("{:?}", config.links);
    };
    assert_eq!(link.cluster.as_str(), "west");
    assert_eq!(link.addresses.len(), 2);
    assert_eq!(link.dial, Dial::Always);
    let described = link::describe(link);
    assert_eq!(described["namespaces"], json!(["bank", "shop"]));
    assert_eq!(described["cidrs"], json!(["10.2.0.0/16", "fd00:2::/48"]));
}

#[test]
fn a_link_says_what_its_peer_is_told_and_how_much_is_taken() {
    let link = link::parse("name=west,exports=shop,max-endpoints=500").unwrap();

    let shop = Namespace::parse("shop").unwrap();
    assert_eq!(link.export_to, Namespaces::Only([shop].into()));
    assert_eq!(link.limits.endpoints, 500);
    assert_eq!(link.limits.services, 20_000);
    assert!(!link.trust_timestamps);
}

#[test]
fn malformed_links_say_what_is_wrong() {
    for (text, says) in [
        ("west", "'west' is not key=value"),
        ("address=192.0.2.2:4700", "name=CLUSTER is missing"),
        ("name=west,name=east", "'name' is there twice"),
        ("name=WEST", "'WEST' is not a valid name"),
        (
            "name=west,address=192.0.2.2",
            "'192.0.2.2' is not where a gateway can be",
        ),
        ("name=west,max-nodes=many", "'many' is not a number"),
        ("name=west,max-updates=0", "'0' is not a number"),
        ("name=west,trust-timestamps=1", "'1' is not true or false"),
        ("name=west,exports=Shop", "'Shop' is not a valid name"),
        (
            "name=west,dial=maybe",
            "'maybe' is not auto, always or never",
        ),
        ("name=west,cidrs=ten", "'ten' is not a range"),
        ("name=west,color=red", "'color' is not one of"),
    ] {
        let error = link::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(says), "{text}: {error}");
    }
}

#[test]
fn settings_that_do_not_fit_together_are_refused() {
    for (flags, says) in [
        (
            &["--link", "name=east,address=192.0.2.2:4700"][..],
            "--link east is this cluster itself",
        ),
        (&["--link", "name=west"], "--link west has no address"),
        (
            &["--link", "name=a,dial=never", "--link", "name=a,dial=never"],
            "--link a is there twice",
        ),
        (&["--heartbeat-interval", "1ms"], "--heartbeat-interval"),
        (&["--detect-multiplier", "0"], "--detect-multiplier"),
        (&["--trust-domain", "A"], "--trust-domain"),
    ] {
        let error = config(flags).unwrap_err().to_string();
        assert!(error.starts_with(says), "{flags:?}: {error}");
    }
}

#[test]
fn a_link_that_is_not_dialled_needs_no_address() {
    assert!(config(&["--link", "name=west,dial=never"]).is_ok());
    assert!(config(&["--link", "name=aachen"]).is_ok());
}

#[test]
fn one_source_must_be_chosen() {
    let base = ["gateway", "--cluster", "east", "--credentials", "c"];

    assert!(Args::try_parse_from(base).is_err());
    let both = base.iter().chain(&["--manifests", "m", "--kubernetes"]);
    assert!(Args::try_parse_from(both).is_err());
}

#[test]
fn pools_of_addresses_must_hold_some_and_not_overlap() {
    let pools = |config: &Config| config.describe()["clusterset-cidr"].clone();
    let both = config(&["--clusterset-cidr", "10.97.0.0/16,fd97::/112"]).unwrap();
    assert_eq!(pools(&both), json!(["10.97.0.0/16", "fd97::/112"]));
    assert_eq!(pools(&config(&[]).unwrap()), json!([]));

    for bad in ["10.97.0.1/32", "10.0.0.0/8,10.97.0.0/16"] {
        let error = config(&["--clusterset-cidr", bad]).unwrap_err();
        assert!(matches!(error, ConfigError::Pool(_)), "{bad}: {error}");
    }
}

fn config(flags: &[&str]) -> Result<Config, ConfigError> {
    let base = [
        "gateway",
        "--cluster=east",
        "--credentials=c",
        "--manifests=m",
    ];
    let args = base.iter().chain(flags);
    Config::try_from(Args::parse_from(args))
}
