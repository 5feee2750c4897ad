//! What the file states in vain: a reader takes it for served.

use std::path::Path;

use offhook_config::{Diagnostics, Files, parse};
use offhook_model::Time;

/// No files at all.
struct Nothing;

impl Files for Nothing {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        None
    }
}

const LAB: &str = include_str!("../../../config/lab.toml");
const VOICE_POOLS: &str = "pools = [\"10.250.1.20-10.250.1.149\"]";

/// The sample site with more in its voice scope, and more at its end.
fn diagnostics(voice: &str, end: &str) -> Diagnostics {
    let text = LAB.replace(VOICE_POOLS, &format!("{VOICE_POOLS}\n{voice}"));
    of(&format!("{text}\n{end}"))
}

fn of(text: &str) -> Diagnostics {
    // A summer's day.
    let now = Time::from_secs(1_783_000_000);
    parse("offhook.toml", Path::new(""), text, now, &Nothing).diagnostics
}

/// The one diagnostic, but for the images that are not there: its code, the text that it is about, and its message.
fn only(text: &str) -> (&'static str, String, String) {
    let found = of(text);
    let all: Vec<_> = found.iter().filter(|d| !d.code.name().starts_with("firmware-")).collect();
    assert_eq!(all.len(), 1, "{}", found.render(false));
    let one = all.first().expect("a diagnostic");
    let line = text.lines().nth(one.line as usize - 1).expect("its line");
    (one.code.name(), line.to_owned(), one.message.clone())
}

fn in_voice(voice: &str) -> (&'static str, String, String) {
    only(&LAB.replace(VOICE_POOLS, &format!("{VOICE_POOLS}\n{voice}")))
}

fn at_end(end: &str) -> (&'static str, String, String) {
    only(&format!("{LAB}\n{end}"))
}

/// Nothing but the images is missing.
fn is_quiet(voice: &str, end: &str) -> bool {
    diagnostics(voice, end).iter().all(|d| d.code.name().starts_with("firmware-"))
}

#[test]
fn a_phone_lease_in_a_vlan_is_one_for_nobody() {
    let (code, line, _) = in_voice("phone_lease = \"10m\"");
    assert_eq!((code, line.as_str()), ("lease-times", "phone_lease = \"10m\""));
}

#[test]
fn times_of_a_class_fit_the_lease_that_it_has_from_its_scopes() {
    let class =
        |times: &str| format!("[[class]]\nname = \"door\"\nvendor_class = \"door\"\n{times}\n");
    for (time, lease) in [
        // The voice scope has 8 h, the native one 1 h.
        ("rebind = \"9h\"", "8h"),
        ("renew = \"8h\"", "8h"),
        ("min_lease = \"12h\"", "8h"),
        ("max_lease = \"30m\"", "1h"),
        ("rebind = \"2h\"\nscopes = \"native\"", "1h"),
        ("max_lease = \"2h\"\nscopes = \"voice\"", "8h"),
    ] {
        let (code, line, message) = at_end(&class(time));
        assert_eq!((code, line.as_str()), ("lease-times", time.lines().next().unwrap()));
        assert!(message.contains(&format!("({lease})")), "{message}");
    }
    // Some scope has a lease that they fit.
    for fits in
        ["rebind = \"7h\"", "min_lease = \"2h\"", "max_lease = \"2h\"", "min_lease = \"8h\""]
    {
        assert!(is_quiet("", &class(fits)), "{fits}");
    }
    assert!(is_quiet("", &class("lease = \"10h\"\nrebind = \"9h\"")));
}

#[test]
fn a_scope_for_the_inventory_needs_one() {
    let (code, line, message) = in_voice("serve = \"inventory\"");
    assert_eq!((code, line.as_str()), ("scope-without-addresses", "[[scope]]"), "{message}");
    assert!(is_quiet("serve = \"inventory\"", "[[phone]]\nmac = \"00:90:8f:00:00:01\"\n"));
    assert!(is_quiet("serve = \"phones\"", ""));
}

#[test]
fn pools_that_are_excluded_as_a_whole_lease_nothing() {
    for exclude in [
        "exclude = \"10.250.1.20-10.250.1.149\"",
        "exclude = [\"10.250.1.100-10.250.1.149\", \"10.250.1.1-10.250.1.60\", \"10.250.1.50-10.250.1.99\"]",
    ] {
        let (code, line, _) = in_voice(exclude);
        assert_eq!((code, line.as_str()), ("scope-without-addresses", exclude));
    }
    assert!(is_quiet("exclude = \"10.250.1.20-10.250.1.148\"", ""));
    assert!(is_quiet("exclude = [\"10.250.1.20-10.250.1.40\", \"10.250.1.42-10.250.1.149\"]", ""));
}

#[test]
fn a_pool_for_a_class_of_other_scopes_is_nobodys() {
    let pools = "pools = [\"10.250.1.20-10.250.1.100\", { range = \"10.250.1.101-10.250.1.149\", only = [\"door\"] }]";
    let with = |pools: &str, scopes: &str| {
        let class = "[[class]]\nname = \"door\"\nvendor_class = \"door\"\n";
        format!("{}\n{class}scopes = {scopes}\n", LAB.replace(VOICE_POOLS, pools))
    };
    let (code, line, message) = only(&with(pools, "\"native\""));
    assert_eq!((code, line.as_str()), ("class-never-matches", pools), "{message}");
    let quiet = |text: &str| of(text).iter().all(|d| d.code.name().starts_with("firmware-"));
    assert!(quiet(&with(pools, "[\"native\", \"voice\"]")));
    let phone = "[[phone]]\nmac = \"00:90:8f:00:00:01\"\n";
    let others = with(&pools.replace("[\"door\"]", "[\"door\", \"inventory\"]"), "\"native\"");
    assert!(quiet(&format!("{others}\n{phone}")));
    // An inventory that there is not.
    assert_eq!(only(&others).0, "class-never-matches");
}

#[test]
fn what_a_class_gives_follows_from_something() {
    let class = |gives: &str, more: &str| {
        format!("[[class]]\nname = \"door\"\nvendor_class = \"door\"\ngives = [{gives}]\n{more}\n")
    };
    let without = |what: &str| {
        let start = LAB.find(what).expect("it is there");
        let end = start + LAB[start..].find("\n\n").expect("a paragraph");
        format!("{}{}\n", &LAB[..start], &LAB[end..])
    };
    let native = LAB.replace("voice = \"voice\"", "phones = false\n# ");
    for (site, gives) in [
        (LAB.to_owned(), "67"),
        (without("[tftp]"), "\"tftp-server-name\""),
        (without("[switchover]"), "160"),
        (native, "\"vlan-id\""),
    ] {
        let (code, line, message) = only(&format!("{site}\n{}", class(gives, "")));
        assert_eq!((code, line), ("not-derivable", format!("gives = [{gives}]")), "{message}");
        let stated = if gives == "67" { "firmware = \"440hd.img\"" } else { "" };
        assert!(is_quiet("", &class(gives, stated)), "{gives}");
    }
    let (code, ..) = at_end(&class("132", "scopes = \"voice\""));
    assert_eq!(code, "not-derivable");
    // What the catalogue gives is for any site.
    let text = format!("{}\n[[class]]\nname = \"440HD\"\ntrailing_nul = true\n", without("[tftp]"));
    assert!(of(&text).iter().next().is_none());
}

#[test]
fn a_class_that_is_another_by_all_its_evidence_is_never_met() {
    let classes = |second: &str| {
        let first =
            "[[class]]\nname = \"one\"\nvendor_class = [\"door\", \"gate\"]\noui = \"02:00:01\"\n";
        format!("{first}[[class]]\nname = \"two\"\n{second}\n")
    };
    for second in ["vendor_class = \"gate\"", "vendor_class = \"door\"\noui = \"02:00:01\""] {
        let (code, line, _) = at_end(&classes(second));
        assert_eq!((code, line.as_str()), ("class-never-matches", "name = \"two\""));
    }
    for second in [
        "vendor_class = [\"gate\", \"window\"]",
        "vendor_class = \"gate\"\nmatch = { scope = \"native\" }",
        "vendor_class = \"gate\"\n[[phone]]\nmac = \"02:00:01:00:00:01\"\nclass = \"TWO\"",
        "user_class = \"gate\"",
    ] {
        assert!(is_quiet("", &classes(second)), "{second}");
    }
    let elsewhere = classes("vendor_class = \"gate\"").replace("oui", "scopes = \"native\"\noui");
    assert!(is_quiet("", &elsewhere));
}

#[test]
fn the_class_of_a_phone_exists_where_its_address_is() {
    let class = "[[class]]\nname = \"door\"\nvendor_class = \"door\"\n";
    let phone =
        "[[phone]]\nmac = \"00:90:8f:00:00:01\"\nclass = \"door\"\naddress = \"10.250.1.30\"\n";
    let (code, line, message) = at_end(&format!("{class}scopes = \"native\"\n{phone}"));
    assert_eq!((code, line.as_str()), ("class-never-matches", "class = \"door\""), "{message}");
    assert!(is_quiet("", &format!("{class}scopes = [\"voice\", \"native\"]\n{phone}")));
    assert!(is_quiet("", &format!("{class}{phone}")));
}

#[test]
fn a_class_has_a_name_that_a_pool_can_name() {
    for name in ["phones", "inventory"] {
        let line = format!("name = \"{name}\"");
        let (code, at, _) = at_end(&format!("[[class]]\n{line}\nvendor_class = \"door\"\n"));
        assert_eq!((code, at), ("bad-choice", line));
    }
}

#[test]
fn routers_in_options_are_in_the_subnet() {
    let (code, line, message) = in_voice("options = { routers = [\"10.250.1.1\", \"10.0.0.1\"] }");
    assert_eq!(code, "router-outside-subnet");
    assert!(line.starts_with("options") && message.contains("10.0.0.1"), "{message}");
    assert!(is_quiet("options = { routers = [\"10.250.1.1\"] }", ""));
    assert!(is_quiet("options = { routers = { send = \"never\" } }", ""));
    let class = "[[class]]\nname = \"door\"\nvendor_class = \"door\"\n";
    for (end, router) in [
        ("[options]\n3 = \"172.16.0.1\"".to_owned(), "172.16.0.1"),
        (format!("{class}options = {{ 3 = \"172.16.0.1\" }}"), "172.16.0.1"),
        (format!("{class}scopes = \"native\"\noptions = {{ 3 = \"10.250.1.2\" }}"), "10.250.1.2"),
        (
            "[[phone]]\nmac = \"00:90:8f:00:00:01\"\noptions = { 3 = \"172.16.0.1\" }".to_owned(),
            "172.16.0.1",
        ),
    ] {
        let (code, line, message) = at_end(&end);
        assert_eq!(code, "router-outside-subnet", "{message}");
        assert!(line.contains("3 = ") && message.contains(router), "{message}");
    }
    assert!(is_quiet("", "[options]\n3 = \"10.250.1.2\""));
    assert!(is_quiet("", &format!("{class}options = {{ 3 = \"10.250.1.2\" }}")));
}

#[test]
fn what_the_server_computes_is_neither_withheld_nor_sent_always() {
    for key in ["withholds", "always"] {
        for code in [51, 53, 54, 58, 59, 61, 81, 82] {
            let line = format!("{key} = [1, {code}]");
            let class = format!("[[class]]\nname = \"door\"\nvendor_class = \"door\"\n{line}\n");
            let (found, at, _) = at_end(&class);
            assert_eq!((found, at), ("option-not-settable", line));
        }
    }
}

#[test]
fn an_offset_of_some_seconds_is_one_of_as_many_hours() {
    let zone = |offset: &str| {
        LAB.replace("time_zone = \"America/New_York\"", &format!("time_offset = {offset}"))
    };
    for (offset, hint) in [("-5", "did you mean \"-05:00\"?"), ("1", "did you mean \"+01:00\"?")] {
        let found = of(&zone(offset));
        let error = found.errors().next().unwrap_or_else(|| panic!("{offset}"));
        assert_eq!((error.code.name(), error.hint.as_deref()), ("bad-time-offset", Some(hint)));
    }
    assert!(of(&zone("-300")).errors().next().is_some());
    for offset in ["0", "-18000", "900", "\"-5\""] {
        assert!(of(&zone(offset)).is_ok(), "{offset}");
    }
}

#[test]
fn a_list_that_could_be_of_anything_is_asked_for_its_type() {
    let found =
        of(&format!("{LAB}\n[options]\n224 = {{ value = [\"10.0.0.1\"], send = \"never\" }}\n"));
    let error = found.errors().next().expect("a list of what?");
    assert_eq!(error.code.name(), "wrong-type");
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("{ addresses = [")));
}

#[test]
fn ports_of_two_switches_are_told_apart_by_the_switch() {
    let found = of(&format!("{LAB}\n{}", "[[phone]]\ncircuit_id = \"Gi1/0/7\"\n".repeat(2)));
    let error = found.errors().next().expect("twice the same");
    assert_eq!(error.code.name(), "duplicate-phone");
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("`remote_id`")));
}

#[test]
fn a_phone_has_the_address_of_one_device() {
    for mac in ["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "01:00:5e:00:00:01"] {
        let (code, line, _) = at_end(&format!("[[phone]]\nmac = \"{mac}\"\n"));
        assert_eq!((code, line), ("bad-mac", format!("mac = \"{mac}\"")));
    }
}
