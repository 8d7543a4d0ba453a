//! Tests of the agent's flags.

use super::*;

#[test]
fn maps_hold_as_much_as_is_asked_for_and_else_their_defaults() {
    let sizes = |text: &str| config(&["--map-sizes", text]).map(|config| config.map_sizes);

    let set = sizes("backends=1048576,rev-nat=7").unwrap();
    assert_eq!((set.backends, set.rev_nat), (1_048_576, 7));
    assert_eq!(set.services, MapSizes::default().services);
    for name in MapSizes::NAMES {
        let set = sizes(&format!("{name}=3")).unwrap();
        assert_eq!(
            set.by_name().filter(|(_, entries)| *entries == 3).count(),
            1
        );
    }
    for text in [
        "backends",
        "backends=",
        "backends=-1",
        "backends=4294967296",
    ] {
        assert!(
            matches!(sizes(text), Err(ConfigError::MapSize(_))),
            "{text}"
        );
    }
    for text in ["backends=0", "frontends=1"] {
        assert!(
            matches!(sizes(text), Err(ConfigError::SetMapSize(..))),
            "{text}"
        );
    }
}

#[test]
fn the_flags_of_a_plain_node_make_a_configuration() {
    let config = config(&[]).unwrap();

    assert_eq!(config.cluster.as_str(), "east");
    assert_eq!(config.tunnel, Some(tunnel::Mode::Auto));
    assert_eq!(config.probe.interval, Duration::from_millis(100));
    let gateways: Vec<String> = config.gateways.iter().map(ToString::to_string).collect();
    assert_eq!(gateways, ["192.0.2.1:4700", "gateway:4700"]);
}

#[test]
fn a_gateway_without_a_port_is_refused() {
    let error = config(&["--gateway", "192.0.2.1"]).unwrap_err();

    assert!(matches!(error, ConfigError::Gateway(..)));
}

#[test]
fn tunnels_can_be_off_and_an_unknown_mode_is_refused() {
    assert_eq!(config(&["--tunnel", "off"]).unwrap().tunnel, None);
    assert!(matches!(
        config(&["--tunnel", "ipsec"]),
        Err(ConfigError::Tunnel(_))
    ));
}

#[test]
fn an_uninstall_needs_no_other_flag() {
    assert!(Args::try_parse_from(["isthmus-agent", "--uninstall"]).is_ok());
    assert!(Args::try_parse_from(["isthmus-agent"]).is_err());
}

#[test]
fn the_printed_configuration_has_every_flag() {
    let printed = config(&[]).unwrap().to_string();
    let json: serde_json::Value = serde_json::from_str(&printed).unwrap();

    let command = <Args as clap::CommandFactory>::command();
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    for flag in flags.filter(|flag| !["print-config", "uninstall", "help"].contains(flag)) {
        assert!(json.get(flag).is_some(), "{flag}");
    }
}

#[test]
fn cgroup2_is_found_in_a_hybrid_hierarchy() {
    let mounts = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\n\
                  cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                  cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

    assert_eq!(
        find_cgroup2(mounts),
        Some(PathBuf::from("/sys/fs/cgroup/unified"))
    );
    assert_eq!(find_cgroup2("proc /proc proc rw 0 0\n"), None);
}

fn config(more: &[&str]) -> Result<Config, ConfigError> {
    let flags = [
        "isthmus-agent",
        "--cluster=east",
        "--node=e1",
        "--credentials=/c",
        "--cgroup=/cg",
        "--gateway=192.0.2.1:4700,gateway:4700",
    ];
    let args = Args::parse_from(flags.iter().chain(more));
    Config::try_from(args)
}
