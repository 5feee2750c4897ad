//! What a site is made of: the bytes that follow from the facts of a file.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use offhook_config::{Files, Loaded, load, parse};
use offhook_model::{
    Class, Evidence, OptionRule, Origin, Phone, PhoneKey, ScopeId, Send, SipPorts, Site, Source,
    Time,
};

fn config(name: &str) -> Loaded {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name))
}

fn lab() -> Site {
    let loaded = config("lab.toml");
    assert!(loaded.diagnostics.is_ok(), "{}", loaded.diagnostics.render(false));
    loaded.site.expect("no errors")
}

/// A summer's day.
const NOW: Time = Time::from_secs(1_783_000_000);

/// No files at all.
struct Nothing;

impl Files for Nothing {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        None
    }
}

/// `lab.toml` with more at its end.
fn lab_and(more: &str) -> Site {
    let text = format!("{}\n{more}", include_str!("../../../config/lab.toml"));
    let loaded = parse("lab.toml", Path::new(""), &text, NOW, &Nothing);
    assert!(loaded.diagnostics.is_ok(), "{}", loaded.diagnostics.render(false));
    loaded.site.expect("no errors")
}

fn class<'s>(site: &'s Site, name: &str) -> &'s Class {
    site.classes.iter().find(|class| class.name == name).expect(name)
}

fn rule(rules: &[OptionRule], code: u8) -> Option<(&[u8], Send)> {
    rules.iter().find(|rule| rule.code == code).map(|rule| (&*rule.value, rule.send))
}

fn in_scope(class: &Class, scope: ScopeId) -> &[OptionRule] {
    class.scope_options.iter().find(|(id, _)| *id == scope).map_or(&[], |(_, rules)| rules)
}

const VOICE: ScopeId = ScopeId(0);
const NATIVE: ScopeId = ScopeId(1);

#[test]
fn the_sample_site_says_what_the_guide_says() {
    let site = lab();
    assert_eq!(site.name, "lab");
    assert_eq!(site.zone.as_str(), "lab.voip");
    assert_eq!(site.dns.listen, ["10.250.1.5:53".parse().unwrap()]);
    let forward: Vec<_> = site.dns.forward.into_iter().collect();
    assert_eq!(
        forward,
        [(Some("lab.local".parse().unwrap()), vec!["10.250.0.2:53".parse().unwrap()])]
    );
    let tftp = site.tftp.unwrap();
    assert_eq!(tftp.listen, "10.0.0.11:69".parse().unwrap());
    assert!(tftp.root.ends_with("config/firmware"));
    let pair = &site.switchovers[0];
    assert_eq!(pair.name.as_str(), "provision.lab.voip");
    assert_eq!(pair.url().as_deref(), Some("http://provision.lab.voip:8088"));
    assert_eq!(pair.sip, SipPorts { udp: Some(8060), tcp: Some(8060), tls: Some(8061) });
    assert_eq!(
        pair.hosts,
        [
            ("vm40ic1.lab.voip".parse().unwrap(), Ipv4Addr::new(10, 250, 1, 151)),
            ("vm40ic2.lab.voip".parse().unwrap(), Ipv4Addr::new(10, 250, 1, 152)),
        ]
    );
    let [voice, native] = site.scopes.as_slice() else { panic!("two scopes") };
    assert_eq!(
        (voice.vlan, voice.voice, voice.lease),
        (Some(100), None, Duration::from_secs(28_800))
    );
    assert_eq!((native.vlan, native.voice), (None, Some(VOICE)));
    assert_eq!(voice.interface.as_deref(), Some("voice0"));
    assert_eq!(voice.pools[0].range.to_string(), "10.250.1.20-10.250.1.149");
}

#[test]
fn options_of_the_site_and_its_scopes_are_these_bytes_and_no_vendors_codes() {
    let site = lab();
    let asked = Send::IfRequested;
    assert_eq!(rule(&site.options, 2), Some((&[0xff, 0xff, 0xb9, 0xb0][..], asked)));
    assert_eq!(rule(&site.options, 6), Some((&[0x0a, 0xfa, 0x01, 0x05][..], asked)));
    assert_eq!(rule(&site.options, 15), Some((&b"lab.voip"[..], asked)));
    assert_eq!(rule(&site.options, 42), Some((&[0x0a, 0xfa, 0x01, 0x06][..], asked)));
    let codes: Vec<_> = site.options.iter().map(|rule| rule.code).collect();
    assert_eq!(codes, [2, 6, 15, 42, 100, 101]);
    for (scope, router, broadcast) in
        [(VOICE, [10, 250, 1, 1], [10, 250, 1, 255]), (NATIVE, [10, 0, 0, 1], [10, 0, 0, 255])]
    {
        let rules = &site.scope(scope).unwrap().options;
        assert_eq!(rule(rules, 1), Some((&[255, 255, 255, 0][..], asked)));
        assert_eq!(rule(rules, 3), Some((&router[..], asked)));
        assert_eq!(rule(rules, 28), Some((&broadcast[..], asked)));
        assert_eq!(rules.len(), 3);
    }
}

#[test]
fn what_the_site_states_goes_before_what_follows_from_a_subnet_but_not_before_what_a_scope_states()
{
    let site = lab_and(
        "options = { broadcast-address = \"10.0.0.127\" }\n\
         [options]\nbroadcast-address = \"10.255.255.255\"\nrouters = \"10.0.0.9\"\n",
    );
    let asked = Send::IfRequested;
    assert_eq!(rule(&site.options, 28), Some((&[10, 255, 255, 255][..], asked)));
    let [voice, native] = site.scopes.as_slice() else { panic!("two scopes") };
    assert_eq!(rule(&voice.options, 28), None);
    assert_eq!(rule(&voice.options, 1), Some((&[255, 255, 255, 0][..], asked)));
    assert_eq!(rule(&voice.options, 3), Some((&[10, 250, 1, 1][..], asked)));
    assert_eq!(rule(&native.options, 28), Some((&[10, 0, 0, 127][..], asked)));
}

#[test]
fn every_family_of_the_guides_table_gets_its_options() {
    let site = lab();
    for (name, file) in [
        ("SIP100", "sip100.img"),
        ("SIP200", "sip200.img"),
        ("405", "405.img"),
        ("405HD", "405hd.img"),
        ("420HD", "420hd.img"),
        ("430HD", "430hd.img"),
        ("440HD", "440hd.img"),
    ] {
        let class = class(&site, name);
        let id: Box<[u8]> = name.as_bytes().into();
        assert!(class.evidence.contains(&Evidence::VendorClass(id.clone())), "{name}");
        assert!(class.evidence.contains(&Evidence::UserClass(id)), "{name}");
        assert_eq!(rule(&class.options, 66), Some((&b"10.0.0.11"[..], Send::Always)));
        assert_eq!(rule(&class.options, 67), Some((file.as_bytes(), Send::Always)));
        assert_eq!(
            rule(&class.options, 160),
            Some((&b"http://provision.lab.voip:8088"[..], Send::Always))
        );
        let mut sub = b"\x42\x0910.0.0.11\x43".to_vec();
        sub.push(file.len() as u8);
        sub.extend(file.as_bytes());
        assert_eq!(rule(&class.options, 43), Some((&sub[..], Send::IfRequested)));
        assert_eq!(rule(&class.options, 132), None);
        assert_eq!(rule(in_scope(class, NATIVE), 132), Some((&b"100"[..], Send::Always)));
        assert_eq!(rule(in_scope(class, VOICE), 132), None);
        for scope in [VOICE, NATIVE] {
            let always: Vec<_> = in_scope(class, scope)
                .iter()
                .filter(|rule| rule.send == Send::Always && rule.code < 128)
                .map(|rule| rule.code)
                .collect();
            assert_eq!(always, [1, 3, 6, 15], "{name}");
        }
        assert!(class.boot_header);
        assert_eq!(class.firmware.as_deref(), Some(file));
    }
}

#[test]
fn a_class_may_get_always_whatever_the_site_the_scope_or_itself_states() {
    let site = lab_and(
        "options = { swap-server = \"10.0.0.9\" }\n\
         [options]\nmerit-dump = \"core\"\nroot-path = \"/\"\n\
         [[class]]\nname = \"door\"\nvendor_class = \"door\"\n\
         always = [\"merit-dump\", 16, 100, 40, 17]\n\
         options = { nis-domain = \"n\", root-path = { send = \"never\" } }\n",
    );
    let class = class(&site, "door");
    assert_eq!(rule(&class.options, 40), Some((&b"n"[..], Send::Always)));
    assert_eq!(rule(&class.options, 17), Some((&b""[..], Send::Never)));
    for (scope, swap) in [(VOICE, None), (NATIVE, Some((&[10, 0, 0, 9][..], Send::Always)))] {
        let rules = in_scope(class, scope);
        assert_eq!(rule(rules, 14), Some((&b"core"[..], Send::Always)));
        assert_eq!(rule(rules, 16), swap);
        assert!(rule(rules, 100).is_some_and(|(_, send)| send == Send::Always));
        assert_eq!(rule(rules, 17), None);
    }
}

#[test]
fn a_class_may_get_always_what_it_is_given_anyway() {
    let site = lab_and(
        "[[class]]\nname = \"440HD\"\nalways = [66, \"provisioning-url\", 43]\n\
         [[class]]\nname = \"door\"\nvendor_class = \"door\"\ngives = [160]\nalways = [160]\n",
    );
    for (name, codes) in [("440HD", &[66, 160, 43][..]), ("door", &[160])] {
        for code in codes {
            let found = rule(&class(&site, name).options, *code);
            assert!(found.is_some_and(|(_, send)| send == Send::Always), "{name}: {code}");
        }
    }
}

#[test]
fn audiocodes_of_unknown_model_get_no_firmware_file() {
    let site = lab();
    let class = class(&site, "AudioCodes");
    assert_eq!(class.evidence, [Evidence::Oui([0x00, 0x90, 0x8f])]);
    assert_eq!(rule(&class.options, 67), None);
    assert_eq!(rule(&class.options, 43), Some((&b"\x42\x0910.0.0.11"[..], Send::IfRequested)));
    assert_eq!(rule(in_scope(class, NATIVE), 132), Some((&b"100"[..], Send::Always)));
}

#[test]
fn polycom_gets_160_and_never_tftp_or_a_vlan() {
    let site = lab();
    let polycom = class(&site, "Polycom");
    let url = &b"http://provision.lab.voip:8088"[..];
    assert_eq!(rule(&polycom.options, 160), Some((url, Send::Always)));
    for code in [66, 67, 132] {
        assert_eq!(rule(&polycom.options, code), Some((&[][..], Send::Never)));
        assert_eq!(rule(in_scope(polycom, NATIVE), code), None);
    }
    assert!(!polycom.boot_header);
    // Even where a scope gives 66 to everybody.
    let site = lab_and("[options]\ntftp-server-name = \"10.0.0.12\"\n");
    assert_eq!(rule(&class(&site, "Polycom").options, 66), Some((&[][..], Send::Never)));

    let soft = class(&site, "SoftPhone");
    assert_eq!(soft.evidence, [Evidence::InformRequests(160)]);
    assert_eq!(soft.options.len(), 1);
    assert!(soft.scope_options.is_empty());
}

#[test]
fn every_rule_knows_the_line_that_it_follows_from() {
    let site = lab();
    let text = include_str!("../../../config/lab.toml");
    let line = |origin: &Origin| match origin.source {
        Source::Config(_) => text.lines().nth(origin.line as usize - 1).unwrap(),
        Source::Catalogue => {
            let catalogue = offhook_config::catalogue_toml();
            catalogue.lines().nth(origin.line as usize - 1).unwrap()
        }
        Source::Default => "",
    };
    let phone = class(&site, "440HD");
    let all = site.options.iter().chain(&phone.options).chain(in_scope(phone, NATIVE));
    let lines: Vec<_> = all.map(|rule| (rule.code, line(&rule.origin))).collect();
    for (code, start) in [
        (2, "time_zone ="),
        (6, "listen = [\"10.250.1.5\"]"),
        (15, "zone ="),
        (42, "servers ="),
        (66, "listen = \"10.0.0.11\""),
        (67, "firmware = \"440hd.img\""),
        (160, "provisioning ="),
        (132, "vlan = 100"),
        (1, "subnet = \"10.0.0.0/24\""),
        (3, "router = \"10.0.0.1\""),
    ] {
        assert!(lines.iter().any(|(c, line)| *c == code && line.starts_with(start)), "{code}");
    }
    assert!(site.options.iter().all(|rule| rule.origin.derived.is_some()));
}

#[test]
fn an_explicit_value_overrides_a_derived_one_at_its_level_and_in_what_classes_give() {
    let site = lab_and(
        "[options]\ndomain-name-servers = [\"10.250.1.5\", \"vm40ic1\"]\n\
         [[class]]\nname = \"440hd\"\noptions = { 160 = \"https://provision.lab.voip:8089\" }\n",
    );
    let dns = &[10, 250, 1, 5, 10, 250, 1, 151][..];
    assert_eq!(rule(&site.options, 6), Some((dns, Send::IfRequested)));
    assert_eq!(rule(in_scope(class(&site, "405"), VOICE), 6), Some((dns, Send::Always)));
    let own = class(&site, "440HD");
    assert_eq!(
        rule(&own.options, 160),
        Some((&b"https://provision.lab.voip:8089"[..], Send::Always))
    );
    // What the class does not state stays the catalogue's.
    assert_eq!(rule(&own.options, 67), Some((&b"440hd.img"[..], Send::Always)));
    assert_eq!(own.evidence.len(), 2);
    assert_eq!(site.classes[0].name, "440HD");
    assert_eq!(site.classes.iter().filter(|class| class.name == "440HD").count(), 1);

    let site = lab_and(
        "[[scope]]\nname = \"lobby\"\nsubnet = \"10.9.0.0/24\"\nphones = false\n\
         pools = \"10.9.0.9-10.9.0.19\"\nrouter = \"10.9.0.1\"\n\
         options = { tftp-server-name = \"10.9.0.2\", domain-name = { send = \"never\" } }\n",
    );
    let phone = class(&site, "440HD");
    assert_eq!(rule(in_scope(phone, ScopeId(2)), 66), Some((&b"10.9.0.2"[..], Send::Always)));
    assert_eq!(rule(in_scope(phone, ScopeId(2)), 15), None);
    assert_eq!(rule(&phone.options, 66), Some((&b"10.0.0.11"[..], Send::Always)));
    let scope = site.scope(ScopeId(2)).unwrap();
    assert_eq!(rule(&scope.options, 15), Some((&[][..], Send::Never)));
}

#[test]
fn options_of_every_kind_become_these_bytes() {
    let values: [(&str, &str, &[u8]); 21] = [
        ("ip-forwarding", "true", &[1]),
        ("default-ip-ttl", "64", &[64]),
        ("interface-mtu", "1500", &[0x05, 0xdc]),
        ("path-mtu-plateau-table", "[68, 576]", &[0, 68, 2, 64]),
        ("arp-cache-timeout", "\"90m\"", &[0, 0, 0x15, 0x18]),
        ("reboot-time", "30", &[0, 0, 0, 30]),
        ("time-offset", "\"+05:30\"", &[0x00, 0x00, 0x4d, 0x58]),
        ("time-offset", "-18000", &[0xff, 0xff, 0xb9, 0xb0]),
        ("swap-server", "\"vm40ic1\"", &[10, 250, 1, 151]),
        ("log_servers", "\"10.0.0.9\"", &[10, 0, 0, 9]),
        ("sip-servers", "{ hex = \"01 0a fa 01 97\" }", &[1, 10, 250, 1, 151]),
        ("sip-servers", "{ value = { hex = \"01\" }, send = \"always\" }", &[1]),
        ("host-name", "\"phone\"", b"phone"),
        ("host-name", "{ hex = \"ff00\" }", &[0xff, 0]),
        ("domain-search", "[\"lab.voip\", \"eng.lab.voip\"]", b"\x03lab\x04voip\0\x03eng\xc0\x00"),
        (
            "classless-static-route",
            "[\"10.1.0.0/16 via 10.0.0.1\", { to = \"default\", via = \"10.0.0.2\" }]",
            &[16, 10, 1, 10, 0, 0, 1, 0, 10, 0, 0, 2],
        ),
        (
            "43",
            "{ suboptions = { 66 = \"a\", 1 = { hex = \"0102\" } } }",
            &[66, 1, b'a', 1, 2, 1, 2],
        ),
        ("43", "{ text = \"http://x\" }", b"http://x"),
        ("43", "\"http://x\"", b"http://x"),
        ("80", "true", &[]),
        ("ntp-servers", "[\"provision\"]", &[10, 250, 1, 151, 10, 250, 1, 152]),
    ];
    for (key, value, bytes) in values {
        let site = lab_and(&format!("[options]\n{key} = {value}\n"));
        let found = site.options.iter().any(|rule| &*rule.value == bytes);
        assert!(found, "{key} = {value}: {:?}", site.options);
    }
}

#[test]
fn vendors_options_of_a_class_or_a_phone_go_out_unasked_and_standard_ones_as_asked() {
    let site = lab_and(
        "[[class]]\nname = \"door\"\noui = \"00:11:22\"\n\
         options = { 150 = \"10.0.0.11\", interface-mtu = 1400, 42 = { value = \"10.0.0.9\", send = \"always\" } }\n\
         [[phone]]\nmac = \"0026.fd00.0001\"\nname = \"desk\"\nclass = \"sip100\"\naddress = \"10.250.1.30\"\n\
         options = { 67 = \"test.img\" }\n\
         [[phone]]\nhost_name = \"AGENT1.lab.local\"\nclass = \"SoftPhone\"\n",
    );
    let door = class(&site, "door");
    assert_eq!(rule(&door.options, 150), Some((&[10, 0, 0, 11][..], Send::Always)));
    assert_eq!(rule(&door.options, 26), Some((&[0x05, 0x78][..], Send::IfRequested)));
    assert_eq!(rule(&door.options, 42), Some((&[10, 0, 0, 9][..], Send::Always)));
    let [desk, agent] = site.phones.as_slice() else { panic!("two phones") };
    let Phone { name, key, class, address, options, .. } = desk;
    assert_eq!(name.as_deref(), Some("desk"));
    assert_eq!(*key, PhoneKey::Mac("00:26:fd:00:00:01".parse().unwrap()));
    assert_eq!(site.class(class.unwrap()).unwrap().name, "SIP100");
    assert_eq!(*address, Some(Ipv4Addr::new(10, 250, 1, 30)));
    assert_eq!(rule(options, 67), Some((&b"test.img"[..], Send::Always)));
    assert_eq!(agent.key, PhoneKey::HostName("agent1".to_owned()));
}

#[test]
fn excluded_addresses_are_those_in_a_pool_and_may_be_hosts() {
    let site = lab_and(
        "[[scope]]\nname = \"lobby\"\nsubnet = \"10.9.0.0/24\"\nphones = false\n\
         pools = [\"10.9.0.9-10.9.0.19\"]\nrouter = \"10.9.0.10\"\n\
         exclude = [\"10.9.0.1-10.9.0.10\", \"10.9.0.19\"]\n",
    );
    let excluded: Vec<_> = site.scopes[2].excluded.iter().map(|a| a.octets()[3]).collect();
    assert_eq!(excluded, [9, 10, 19]);
}

#[test]
fn time_zones_give_their_standard_offset() {
    for (zone, hours) in [
        ("America/New_York", -5.0),
        ("Europe/Berlin", 1.0),
        ("Europe/Dublin", 0.0),
        ("Asia/Kolkata", 5.5),
        ("Australia/Sydney", 10.0),
        ("Australia/Lord_Howe", 10.5),
        ("UTC", 0.0),
    ] {
        let text = include_str!("../../../config/lab.toml").replace("America/New_York", zone);
        let site = parse("lab.toml", Path::new(""), &text, NOW, &Nothing).site.unwrap();
        let seconds = ((hours * 3600.0) as i32).to_be_bytes();
        assert_eq!(rule(&site.options, 2).map(|(value, _)| value), Some(&seconds[..]), "{zone}");
    }
}

#[test]
fn time_servers_go_into_option_4_where_the_file_says_so_and_never_into_both() {
    let text = include_str!("../../../config/lab.toml");
    let with = |option: &str| {
        let text =
            text.replace("[\"mytimeserver\"]  ", &format!("[\"mytimeserver\"]\n{option}\n#"));
        parse("lab.toml", Path::new(""), &text, NOW, &Nothing)
    };
    let site = with("option = 4").site.unwrap();
    assert_eq!(rule(&site.options, 4), Some((&[10, 250, 1, 6][..], Send::IfRequested)));
    assert_eq!(rule(&site.options, 42), None);
    let codes: Vec<_> =
        with("option = [4, 42]").diagnostics.errors().map(|d| d.code.name()).collect();
    assert_eq!(codes, ["both-4-and-42"]);
}

#[test]
fn the_starting_point_is_without_errors() {
    let loaded = config("offhook.toml");
    assert!(loaded.diagnostics.is_ok(), "{}", loaded.diagnostics.render(false));
}

#[test]
fn the_reference_is_without_errors() {
    let loaded = config("offhook.reference.toml");
    assert!(loaded.diagnostics.is_ok(), "{}", loaded.diagnostics.render(false));
}

#[test]
fn the_defaults_that_the_reference_shows_are_those_of_the_program() {
    let site = config("offhook.reference.toml").site.expect("no errors");
    assert_eq!(site.dhcp, offhook_model::Dhcp::default());
    assert_eq!(site.dns.cache, offhook_model::DnsCache::default());
    let [.., plain] = site.scopes.as_slice() else { panic!("scopes") };
    let said = &site.scopes[0];
    assert_eq!(
        (said.serve, said.authoritative, said.probe, said.reserved_share, said.lease),
        (plain.serve, plain.authoritative, plain.probe, plain.reserved_share, plain.lease)
    );
    // What `order` alone asks for is what the table shows.
    let with_defaults = |text: &str| {
        let lab = include_str!("../../../config/lab.toml");
        let lab = lab.replace("sip = {", &format!("{text}\nsip = {{"));
        let loaded = parse("lab.toml", Path::new(""), &lab, NOW, &Nothing);
        loaded.site.expect("no errors").switchovers.remove(0)
    };
    let [said, ..] = site.switchovers.as_slice() else { panic!("switchovers") };
    let implied = with_defaults("order = \"active-first\"");
    assert_eq!((said.order, &said.health), (implied.order, &implied.health));
    assert_eq!(with_defaults("health = {}").health, said.health);
    assert_eq!(with_defaults("").health, None);
    // A pool is watched by what is known of it.
    let pool = |text: &str| {
        let more = "[[proxy]]\nname = \"pool\"\nhosts = [\"vm40ic1\"]\nsip = { tls = 5061 }\n";
        lab_and(&format!("{more}{text}")).proxies.remove(0)
    };
    let watched = pool("health = { interval = \"200ms\" }").health.expect("health");
    assert_eq!((watched.probe.as_str(), watched.port), ("tls", 5061));
    assert_eq!(watched.timeout, watched.interval, "shorter than the default");
    assert_eq!(pool("").health, None);
    // The list beside it is part of the inventory.
    assert_eq!(site.phones.len(), 4);
}

#[test]
fn leases_have_names_unless_there_are_very_many_addresses_or_the_file_says_so() {
    let site = |pool: &str, dns: &str| {
        let text = format!(
            "[site]\nzone = \"lab.voip\"\n[dns]\nlisten = [\"10.0.0.1\"]\n{dns}\n\
             [[scope]]\nname = \"voice\"\nvlan = 2\nsubnet = \"10.0.0.0/8\"\npools = [\"{pool}\"]\n"
        );
        let loaded = parse("offhook.toml", Path::new(""), &text, NOW, &Nothing);
        loaded.site.unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(false)))
    };
    let named = |pool, dns| site(pool, dns).dns.names.leases;
    assert!(named("10.2.0.0-10.9.255.255", ""));
    assert!(!named("10.2.0.0-10.10.0.0", ""));
    assert!(named("10.2.0.0-10.10.0.0", "lease_names = true"));
    assert!(!named("10.2.0.0-10.2.0.9", "lease_names = false"));
}
