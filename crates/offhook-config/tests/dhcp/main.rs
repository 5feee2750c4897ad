//! What the DHCP server is told: pools and whom they are for, leases, classes by expression, vendors' options.

mod matching;

use std::path::Path;
use std::time::Duration;

use offhook_config::{Files, Loaded, parse};
use offhook_model::{
    BootFields, ClassId, Dhcp, PhoneKey, PoolUser, ScopeId, Send, Serve, Site, Time,
};

/// A summer's day.
const NOW: Time = Time::from_secs(1_783_000_000);

/// No files at all.
struct Nothing;

impl Files for Nothing {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        None
    }
}

const LAB: &str = include_str!("../../../../config/lab.toml");

fn read(text: &str) -> Loaded {
    parse("lab.toml", Path::new(""), text, NOW, &Nothing)
}

fn site(text: &str) -> Site {
    let loaded = read(text);
    assert!(loaded.diagnostics.is_ok(), "{}", loaded.diagnostics.render(false));
    loaded.site.expect("no errors")
}

/// `lab.toml` with more at its end.
fn lab_and(more: &str) -> Site {
    site(&format!("{LAB}\n{more}"))
}

fn codes(text: &str) -> Vec<&'static str> {
    read(text).diagnostics.errors().map(|d| d.code.name()).collect()
}

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(3600 * hours)
}

#[test]
fn a_site_that_says_nothing_has_the_defaults() {
    let site = lab_and("");
    assert_eq!(site.dhcp, Dhcp::default());
    let [voice, native] = site.scopes.as_slice() else { panic!("two scopes") };
    for scope in [voice, native] {
        assert_eq!(scope.serve, Serve::All);
        assert!(scope.authoritative && scope.probe);
        assert_eq!(scope.reserved_share, 10);
        assert_eq!(scope.shared_network, None);
        assert_eq!(scope.times, Default::default());
        assert!(scope.pools.iter().all(|pool| pool.only.is_empty()));
    }
    assert_eq!(voice.phone_lease, None);
    assert_eq!(native.phone_lease, Some(hours(1)));
    for class in &site.classes {
        assert_eq!(
            (class.lease, class.times, class.trailing_nul),
            (None, Default::default(), false)
        );
        assert!(class.scopes.is_empty() && class.condition.is_none());
    }
}

#[test]
fn what_the_file_says_of_dhcp_is_what_the_site_has() {
    let site = lab_and(
        "[dhcp]\ndecline_hold = \"2h\"\noffer_hold = 30\nsubnet_selection = true\n\
         probe_wait = \"250ms\"\nclient_rate = 0\ncircuit_rate = 100\ndscp = \"CS6\"\n",
    );
    let expected = Dhcp {
        decline_hold: hours(2),
        offer_hold: Duration::from_secs(30),
        subnet_selection: true,
        probe_wait: Duration::from_millis(250),
        client_rate: 0,
        circuit_rate: 100,
        dscp: 48,
    };
    assert_eq!(site.dhcp, expected);
}

#[test]
fn a_scope_says_whom_it_serves_for_how_long_and_from_which_addresses() {
    let site = lab_and(
        "[[class]]\nname = \"door\"\noui = \"00:00:5e\"\n\
         [[scope]]\nname = \"data\"\nsubnet = \"10.9.0.0/24\"\nvoice = \"voice\"\nrouter = \"10.9.0.1\"\n\
         lease = \"40m\"\nmin_lease = \"10m\"\nmax_lease = \"2h\"\nrenew = \"20m\"\nrebind = \"30m\"\n\
         serve = \"phones\"\nauthoritative = false\nprobe = false\nreserved_share = 0\n\
         pools = [\"10.9.0.10-10.9.0.19\", { range = \"10.9.0.20-10.9.0.29\", only = \"phones\" },\n\
         { range = \"10.9.0.30\", only = [\"inventory\", \"door\", \"440hd\"] }]\n",
    );
    let scope = site.scope(ScopeId(2)).unwrap();
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    assert_eq!((Some(scope.lease), scope.phone_lease), (minutes(40), minutes(40)));
    assert_eq!((scope.times.min, scope.times.max), (minutes(10), minutes(120)));
    assert_eq!((scope.times.renew, scope.times.rebind), (minutes(20), minutes(30)));
    assert_eq!((scope.serve, scope.authoritative, scope.probe), (Serve::Phones, false, false));
    assert_eq!(scope.reserved_share, 0);
    let class = |name: &str| {
        let (id, _) = site.class_ids().find(|(_, class)| class.name == name).unwrap();
        PoolUser::Class(id)
    };
    assert_eq!(class("door"), PoolUser::Class(ClassId(0)));
    let only: Vec<_> = scope.pools.iter().map(|pool| pool.only.clone()).collect();
    let mixed = vec![PoolUser::Inventory, class("door"), class("440HD")];
    assert_eq!(only, [vec![], vec![PoolUser::Phones], mixed]);
    let text = LAB.replace("lease = \"1h\"", "lease = \"1h\"\nphone_lease = \"10m\"");
    assert_eq!(self::site(&text).scopes[1].phone_lease, minutes(10));
}

#[test]
fn header_fields_for_boot_loaders_are_a_scope_s_or_a_class_s() {
    let site = lab_and(
        "next_server = \"vm40ic1\"\nserver_name = \"tftp\"\nboot_file = \"pxe.0\"\n\
         [[class]]\nname = \"440HD\"\nnext_server = \"192.0.2.9\"\n",
    );
    let native = BootFields {
        next_server: Some([10, 250, 1, 151].into()),
        server_name: Some("tftp".into()),
        boot_file: Some("pxe.0".into()),
    };
    assert_eq!([&site.scopes[0].boot, &site.scopes[1].boot], [&BootFields::default(), &native]);
    let stated = BootFields { next_server: Some([192, 0, 2, 9].into()), ..Default::default() };
    let phones = site.classes.iter().filter(|class| class.boot != BootFields::default());
    assert_eq!(
        phones.map(|class| (&*class.name, &class.boot)).collect::<Vec<_>>(),
        [("440HD", &stated)]
    );
}

#[test]
fn scopes_of_one_link_may_share_its_interface_and_vlan_where_they_say_so() {
    let second = |shared: &str| {
        let first = LAB.replace("vlan = 100", &format!("vlan = 100\n{shared}"));
        format!(
            "{first}\n[[scope]]\nname = \"more\"\ninterface = \"voice0\"\nvlan = 100\n\
             subnet = \"10.250.2.0/24\"\npools = [\"10.250.2.20-10.250.2.29\"]\n\
             router = \"10.250.2.1\"\n{shared}\n"
        )
    };
    assert_eq!(codes(&second("")), ["duplicate-interface"]);
    let loaded = read(&second("shared_network = \"floor\""));
    let warnings: Vec<_> = loaded.diagnostics.iter().map(|d| d.code.name()).collect();
    assert_eq!(warnings, ["firmware-root-missing"]);
    let names: Vec<_> =
        loaded.site.unwrap().scopes.into_iter().map(|scope| scope.shared_network).collect();
    let floor = || Some("floor".to_owned());
    assert_eq!(names, [floor(), None, floor()]);
}

#[test]
fn lease_times_that_contradict_each_other_are_errors() {
    for (times, good) in [
        ("lease = \"8h\"\nrenew = \"4h\"\nrebind = \"7h\"", true),
        ("lease = \"8h\"\nrenew = \"7h\"", false),
        ("lease = \"8h\"\nrebind = \"8h\"", false),
        ("lease = \"8h\"\nrebind = \"4h\"", false),
        ("rebind = \"9h\"", false),
        ("min_lease = \"9h\"", false),
        ("max_lease = \"7h\"", false),
        ("min_lease = \"8h\"\nmax_lease = \"8h\"", true),
    ] {
        let text = LAB.replace("lease = \"8h\"", times);
        let expected: &[&str] = if good { &[] } else { &["lease-times"] };
        assert_eq!(codes(&text), expected, "{times}");
    }
    let class = |times: &str| {
        codes(&format!("{LAB}\n[[class]]\nname = \"door\"\noui = \"00:00:5e\"\n{times}\n"))
    };
    assert!(class("renew = \"2h\"\nrebind = \"3h\"").is_empty());
    assert_eq!(class("renew = \"3h\"\nrebind = \"3h\""), ["lease-times"]);
    assert_eq!(class("min_lease = \"3h\"\nmax_lease = \"2h\""), ["lease-times"]);
}

#[test]
fn a_class_may_be_of_some_scopes_and_have_a_lease_of_its_own() {
    let site = lab_and(
        "[[class]]\nname = \"440hd\"\nscopes = \"voice\"\nlease = \"12h\"\nmax_lease = \"1d\"\n\
         trailing_nul = true\n",
    );
    let class = &site.classes[0];
    assert_eq!(class.scopes, [ScopeId(0)]);
    assert_eq!((class.lease, class.times.max), (Some(hours(12)), Some(hours(24))));
    assert!(class.trailing_nul);
    // What the class does not say stays the catalogue's.
    assert_eq!(class.evidence.len(), 2);
}

/// The payload and the sending of `code` in `[options]`, when its line is `key = value`.
fn option(code: u8, key: &str, value: &str) -> (Vec<u8>, Send) {
    let site = lab_and(&format!("[options]\n{key} = {value}\n"));
    let rule = site.options.iter().find(|rule| rule.code == code);
    let rule = rule.expect(key);
    (rule.value.to_vec(), rule.send)
}

#[test]
fn options_with_an_inner_form_become_these_bytes() {
    let cases: &[(u8, &str, &str, &[u8])] = &[
        (43, "43", "{ 66 = \"10.0.0.11\", \"67\" = \"a\" }", b"\x42\x0910.0.0.11\x43\x01a"),
        (43, "43", "{ hex = \"8404313134 00\" }", b"\x84\x04114\0"),
        (43, "Vendor Specific", "{ text = \"http://x\" }", b"http://x"),
        (43, "43", "{ value = { 1 = true }, send = \"always\" }", &[1, 1, 1]),
        (43, "43", "{ 1 = { u16 = 8060 }, 2 = [1, 2] }", &[1, 2, 0x1f, 0x7c, 2, 2, 1, 2]),
        (
            120,
            "sip-servers",
            "[\"10.250.1.151\", \"10.250.1.152\"]",
            b"\x01\x0a\xfa\x01\x97\x0a\xfa\x01\x98",
        ),
        (
            120,
            "sip-servers",
            "[\"lab.voip\", \"sip\"]",
            b"\0\x03lab\x04voip\0\x03sip\x03lab\x04voip\0",
        ),
        (120, "120", "{ addresses = [\"vm40ic1\"] }", b"\x01\x0a\xfa\x01\x97"),
        (120, "120", "{ domains = \"a.b\" }", b"\0\x01a\x01b\0"),
        (
            124,
            "124",
            "{ enterprise = 9, classes = [\"ab\", { hex = \"01\" }] }",
            b"\0\0\0\x09\x05\x02ab\x01\x01",
        ),
        (
            125,
            "vivso",
            "{ enterprise = 1234, options = { \"1\" = \"text\", \"2\" = { hex = \"0a\" } } }",
            b"\0\0\x04\xd2\x09\x01\x04text\x02\x01\x0a",
        ),
        (
            125,
            "125",
            "[{ enterprise = 1, options = { 1 = \"a\" } }, { enterprise = 1027, text = \"id:x\" }]",
            b"\0\0\0\x01\x03\x01\x01a\0\0\x04\x03\x04id:x",
        ),
        (121, "121", "[{ to = \"10.0.0.0/8\", via = \"10.0.0.1\" }]", &[8, 10, 10, 0, 0, 1]),
        (121, "121", "\"10.0.0.0/8  via vm40ic1\"", &[8, 10, 10, 250, 1, 151]),
        (249, "249", "\"default via 10.0.0.1\"", &[0, 10, 0, 0, 1]),
        (121, "121", "{ to = \"default\", via = \"10.0.0.1\" }", &[0, 10, 0, 0, 1]),
        (78, "78", "{ mandatory = true, addresses = [\"10.0.0.9\"] }", &[1, 10, 0, 0, 9]),
        (78, "slp-directory-agent", "\"10.0.0.9\"", &[0, 10, 0, 0, 9]),
        (79, "79", "{ mandatory = true, text = \"a,b\" }", b"\x01a,b"),
        (88, "88", "[\"a.b\", \"c.b\"]", b"\x01a\x01b\0\x01c\x01b\0"),
        (145, "145", "[1, 2]", &[1, 2]),
        (158, "158", "[\"10.0.0.8\", \"10.0.0.9\"]", &[8, 10, 0, 0, 8, 10, 0, 0, 9]),
        (158, "158", "[[\"10.0.0.8\"], \"10.0.0.9\"]", &[4, 10, 0, 0, 8, 4, 10, 0, 0, 9]),
        (109, "109", "\"2001:db8::7\"", b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"),
        (139, "139", "{ 1 = { addresses = \"10.0.0.8\" } }", &[1, 4, 10, 0, 0, 8]),
        (140, "140", "{ 1 = { domains = \"a.b\" } }", b"\x01\x05\x01a\x01b\0"),
        (137, "option-v4-lost", "\"a.b\"", b"\x01a\x01b\0"),
        (143, "143", "\"https://a\"", b"\0\x09https://a"),
        (128, "128", "{ addresses = [\"10.0.0.9\"] }", &[10, 0, 0, 9]),
        (144, "144", "\"VLAN-A=100;\"", b"VLAN-A=100;"),
        (157, "157", "\"VLAN-A=100;\"", b"VLAN-A=100;"),
        (191, "191", "\"VLAN-A=100;\"", b"VLAN-A=100;"),
        (242, "242", "\"L2Q=1,L2QVLAN=202\"", b"L2Q=1,L2QVLAN=202"),
        (133, "133", "{ u8 = 5 }", &[5]),
        (224, "224", "{ u32 = 4294967295 }", &[255, 255, 255, 255]),
        (224, "224", "{ i32 = [-1, 1] }", &[255, 255, 255, 255, 0, 0, 0, 1]),
        (224, "224", "{ hex = \"01 02\", send = \"always\" }", &[1, 2]),
        (60, "60", "\"HTTPClient\"", b"HTTPClient"),
        (2, "time-offset", "\"current\"", &(-14_400i32).to_be_bytes()),
        (2, "time-offset", "\"standard\"", &(-18_000i32).to_be_bytes()),
    ];
    for (code, key, value, bytes) in cases {
        let key = if key.contains(' ') { format!("\"{key}\"") } else { (*key).to_owned() };
        assert_eq!(option(*code, &key, value).0, *bytes, "{key} = {value}");
    }
    assert_eq!(option(224, "224", "{ hex = \"01\", send = \"always\" }").1, Send::Always);
    assert_eq!(option(43, "43", "{ 1 = \"a\", send = \"never\" }").1, Send::Never);
}

#[test]
fn data_of_a_vendor_past_255_bytes_goes_on_in_a_second_block() {
    let long = "x".repeat(200);
    let value = format!("{{ enterprise = 9, options = {{ 1 = \"{long}\", 2 = \"{long}\" }} }}");
    let (bytes, _) = option(125, "125", &value);
    let block = |code: u8| [&[0, 0, 0, 9, 202, code, 200][..], long.as_bytes()].concat();
    assert_eq!(bytes, [block(1), block(2)].concat());
}

#[test]
fn every_option_of_the_registry_is_taken_by_number() {
    // Set by the server itself; 4, which never goes with 42; 132 and 160, which are looked into.
    let own = [4, 132, 160, 50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 81, 82, 118];
    for code in (1..=254).filter(|code| !own.contains(code)) {
        assert_eq!(option(code, &code.to_string(), "{ hex = \"0102\" }").0, [1, 2], "{code}");
    }
}

#[test]
fn option_values_with_a_mistake_are_errors() {
    for (line, code) in [
        ("43 = { 1 = \"a\", 300 = \"b\" }", "unknown-option"),
        ("43 = { 1 = 5 }", "wrong-type"),
        ("43 = { txet = \"b\" }", "unknown-key"),
        ("43 = { }", "missing-key"),
        ("224 = 5", "wrong-type"),
        ("224 = { u8 = 256 }", "out-of-range"),
        ("224 = { hex = \"01\", text = \"a\" }", "bad-choice"),
        ("120 = [\"lab.voip\", \"10.0.0.1\"]", "bad-choice"),
        ("125 = { options = { 1 = \"a\" } }", "missing-key"),
        ("125 = { enterprise = 9 }", "missing-key"),
        ("124 = { enterprise = 0, classes = \"a\" }", "out-of-range"),
        ("log-servers = [\"nobody\"]", "unknown-host"),
        ("121 = { to = \"10.0.0.0/8\" }", "missing-key"),
        ("domainsearch = \"lab.voip\"\nngp-servers = \"10.0.0.1\"", "unknown-option"),
        ("time-offset = \"curent\"", "bad-time-offset"),
        ("subnet-mask = \"255.0.255.0\"", "bad-address"),
        ("interface-mtu = 67", "out-of-range"),
        ("default-ip-ttl = 0", "out-of-range"),
        ("default-tcp-ttl = 0", "out-of-range"),
        ("max-dgram-reassembly = 575", "out-of-range"),
        ("path-mtu-plateau-table = [68, 67]", "out-of-range"),
    ] {
        let text = format!("{LAB}\n[options]\n{line}\n");
        assert_eq!(codes(&text).first(), Some(&code), "{line}");
    }
}

#[test]
fn a_time_zone_is_told_by_offset_rule_and_name() {
    let zone = |more: &str| {
        let site = site(&LAB.replace("[time]\n", &format!("[time]\n{more}\n")));
        let value = |code: u8| {
            let rule = site.options.iter().find(|rule| rule.code == code)?;
            assert_eq!(rule.send, Send::IfRequested);
            Some(rule.value.to_vec())
        };
        (value(2), value(100), value(101))
    };
    let rule = Some(b"EST5EDT,M3.2.0,M11.1.0".to_vec());
    let name = Some(b"America/New_York".to_vec());
    let seconds = |n: i32| Some(n.to_be_bytes().to_vec());
    assert_eq!(zone(""), (seconds(-18_000), rule.clone(), name.clone()));
    assert_eq!(zone("offset = \"standard\""), (seconds(-18_000), rule.clone(), name.clone()));
    assert_eq!(zone("offset = \"current\""), (seconds(-14_400), rule, name));
    // In winter the two are the same.
    let winter = parse("lab.toml", Path::new(""), LAB, Time::from_secs(1_800_000_000), &Nothing);
    let text = format!("{LAB}\n[options]\n2 = \"current\"\n");
    let current = parse("lab.toml", Path::new(""), &text, Time::from_secs(1_800_000_000), &Nothing);
    let offset = |loaded: Loaded| {
        loaded.site.unwrap().options.iter().find(|rule| rule.code == 2).unwrap().value.clone()
    };
    assert_eq!(offset(winter), offset(current));
    let fixed = LAB.replace("time_zone = \"America/New_York\"", "time_offset = \"-05:00\"");
    assert_eq!(site(&fixed).options.iter().filter(|r| matches!(r.code, 100 | 101)).count(), 0);
    let none = LAB.replace("time_zone = \"America/New_York\"", "");
    assert_eq!(codes(&format!("{none}\n[options]\n2 = \"current\"\n")), ["bad-time-offset"]);
}

#[test]
fn nothing_but_the_offset_in_force_follows_the_clock() {
    let lab = LAB.replace("[time]\n", "[time]\noffset = \"current\"\n");
    let changed = |more: &str| {
        let mut site = site(&format!("{lab}\n{more}"));
        let door = site.classes.iter().position(|class| class.name == "door").unwrap();
        let rules =
            |site: &Site| [site.options.clone(), site.classes[door].options.clone()].concat();
        let before = rules(&site);
        assert!(site.follow_offset(7));
        let both = before.into_iter().zip(rules(&site));
        let changed = both.filter(|(before, after)| before.value != after.value);
        changed.map(|(before, _)| before.code).collect::<Vec<_>>()
    };
    let door = "[[class]]\nname = \"door\"\nvendor_class = \"door\"\n";
    let host_name = "host-name = \"phone\"";
    assert_eq!(changed(&format!("{door}options = {{ {host_name} }}")), [2]);
    assert_eq!(changed(&format!("[options]\n{host_name}\n{door}")), [2]);
    assert_eq!(changed(&format!("{door}options = {{ 2 = \"standard\", {host_name} }}")), [2]);
    assert_eq!(changed(&format!("{door}options = {{ 2 = \"current\", {host_name} }}")), [2, 2]);
}

#[test]
fn a_phone_is_known_by_one_thing_or_by_a_port_of_a_switch() {
    let site = lab_and(
        "[[phone]]\nclient_id = \"door-7\"\naddress = \"10.250.1.200\"\n\
         [[phone]]\nclient_id = { hex = \"01 00 90 8f 12 34 56\" }\n\
         [[phone]]\nclient_id = \"01:00:90:8f:12:34:57\"\n\
         [[phone]]\ncircuit_id = \"Gi1/0/7\"\naddress = \"10.250.1.21\"\n\
         [[phone]]\nremote_id = \"floor-3\"\n\
         [[phone]]\nremote_id = \"floor-3\"\ncircuit_id = \"7\"\n\
         [[phone]]\ncircuit_id = \"7\"\nremote_id = { hex = \"00\" }\n",
    );
    let keys: Vec<_> = site.phones.iter().map(|phone| phone.key.clone()).collect();
    let expected = [
        PhoneKey::ClientId(b"door-7"[..].into()),
        PhoneKey::ClientId([1, 0, 0x90, 0x8f, 0x12, 0x34, 0x56].into()),
        PhoneKey::ClientId([1, 0, 0x90, 0x8f, 0x12, 0x34, 0x57].into()),
        PhoneKey::CircuitId(b"Gi1/0/7"[..].into()),
        PhoneKey::RemoteId(b"floor-3"[..].into()),
        PhoneKey::Port { remote: b"floor-3"[..].into(), circuit: b"7"[..].into() },
        PhoneKey::Port { remote: [0].into(), circuit: b"7"[..].into() },
    ];
    assert_eq!(keys, expected);
    // One that comes in pieces; a relay's does not.
    let long = |key: &str, bytes: usize| {
        codes(&format!("{LAB}\n[[phone]]\n{key} = {{ hex = \"{}\" }}\n", "ff".repeat(bytes)))
    };
    assert_eq!((long("client_id", 512), long("circuit_id", 255)), (vec![], vec![]));
    assert_eq!(
        (long("client_id", 513), long("circuit_id", 256)),
        (vec!["out-of-range"], vec!["out-of-range"])
    );
    let two = "[[phone]]\nmac = \"00:90:8f:00:00:01\"\ncircuit_id = \"a\"\n";
    assert_eq!(codes(&format!("{LAB}\n{two}")), ["bad-choice"]);
    let two = "[[phone]]\nremote_id = \"r\"\ncircuit_id = \"a\"\nhost_name = \"h\"\n";
    assert_eq!(codes(&format!("{LAB}\n{two}")), ["bad-choice"]);
    let again = "[[phone]]\nremote_id = \"r\"\ncircuit_id = \"a\"\n".repeat(2);
    assert_eq!(codes(&format!("{LAB}\n{again}")), ["duplicate-phone"]);
    assert_eq!(codes(&format!("{LAB}\n[[phone]]\nname = \"a\"\n")), ["missing-key"]);
}

#[test]
fn what_is_written_as_text_is_known_to_be_text() {
    let site = lab_and(
        "[options]\n43 = { text = \"url\" }\n224 = \"text\"\n225 = { value = \"text\", send = \"always\" }\n\
         226 = { value = { text = \"text\" } }\n227 = { hex = \"00\" }\n228 = { value = { u8 = 1 } }\n\
         229 = [1, 2]\n230 = { suboptions = { 1 = \"text\" } }\n124 = \"class\"\n97 = { hex = \"00\" }\n",
    );
    let rules = site.options.iter().filter(|rule| rule.is_text);
    assert_eq!(rules.map(|rule| rule.code).collect::<Vec<_>>(), [43, 224, 225, 226]);
    let sub_options = lab_and("[options]\n43 = { 1 = \"text\" }\n").options;
    assert!(sub_options.iter().all(|rule| !rule.is_text));
}

#[test]
fn a_class_whose_match_finds_polycom_phones_must_not_send_them_to_tftp() {
    let class = |condition: &str, gives: &str| {
        format!("{LAB}\n[[class]]\nname = \"ours\"\nmatch = {condition}\n{gives}\n")
    };
    let tftp = "options = { tftp-server-name = \"10.0.0.11\" }";
    for condition in [
        "{ polycom = { part = \"VVX*\" } }",
        "{ vendor_class = \"PolycomVVX-VVX_410-UA\" }",
        "{ vendor_class = \"poly*\" }",
        "{ vendor_class = { prefix = \"Poly\" } }",
        "{ vendor_class = { prefix = { hex = \"00 00 36 3d 6f\" } } }",
        "{ vendor_class = [\"440HD\", \"VVX*\"], scope = \"voice\" }",
        "{ mac = \"00:04:f2:11\" }",
        "{ vendor_class_of = { enterprise = 13885, present = true } }",
        "{ all = [{ relay = true }, { any = [{ user_class = \"x\" }, { mac = \"64:16:7f\" }] }] }",
    ] {
        for gives in [tftp, "gives = [\"tftp-server-name\"]", "gives = [\"vlan-id\"]"] {
            assert_eq!(
                codes(&class(condition, gives)),
                ["tftp-for-polycom"],
                "{condition} {gives}"
            );
        }
        assert_eq!(codes(&class(condition, "gives = [\"provisioning-url\"]")), [""; 0]);
    }
    for condition in [
        "{ vendor_class = \"440HD\" }",
        "{ vendor_class = \"S*\" }",
        "{ vendor_class = true }",
        "{ not = { vendor_class = \"Polycom*\" } }",
        "{ mac = \"00:90:8f\" }",
        "{ host_name = \"Polycom*\" }",
    ] {
        assert_eq!(codes(&class(condition, tftp)), [""; 0], "{condition}");
    }
}

#[test]
fn what_a_class_of_the_catalogue_is_to_lack_it_lacks_though_the_catalogue_sends_it_always() {
    let site = lab_and("[[class]]\nname = \"440HD\"\nwithholds = [\"domain-name\", 66]\n");
    let class = site.classes.iter().find(|class| class.name == "440HD").unwrap();
    let by_scope = class.scope_options.iter().flat_map(|(_, rules)| rules);
    let sends = |code: u8| -> Vec<Send> {
        let rules = class.options.iter().chain(by_scope.clone());
        rules.filter(|rule| rule.code == code).map(|rule| rule.send).collect()
    };
    assert_eq!((sends(15), sends(66)), (vec![Send::Never], vec![Send::Never]));
    assert_eq!(sends(6), [Send::Always; 2]);
}
