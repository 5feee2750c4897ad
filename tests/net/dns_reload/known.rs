//! Servers that are watched: what is known of them stays known.

use super::*;
use crate::sip::{Fake, Manner, Speech};

#[test]
fn a_dead_server_stays_out_of_the_answers_and_what_is_known_stays_known() {
    let watched = "order = \"active-only\"\nhealth = { probe = \"sip-udp\", interval = \"300ms\", \
                   timeout = \"200ms\", rise = 2, fall = 2, damping = 0 }\nsip = {";
    let lab = Lab::changed(&[("sip = {", watched)]);
    let machine = |address: &str| lab.machine(Vlan::Voice, address, "10.250.1.1");
    let machines = [machine("10.250.1.151/24"), machine("10.250.1.152/24")];
    let client = machine("10.250.1.200/24");
    let first = Fake::start(&machines[0], Speech::SipUdp, [10, 250, 1, 151], 8060);
    let _second = Fake::start(&machines[1], Speech::SipUdp, [10, 250, 1, 152], 8060);
    let server = lab.serve();
    let servers = || status(&lab)["servers"].as_array().unwrap().clone();
    let becomes = |place: usize, state: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = servers();
            if now[place]["state"] == *state {
                return now[place].clone();
            }
            assert!(Instant::now() < deadline, "not {state}: {now:?}");
        }
    };
    becomes(0, "up");
    becomes(1, "up");
    first.set(Manner::Silent);
    let dead = becomes(0, "down");
    let right = |_: &str, found: &[Ipv4Addr]| is_set(found, &["10.250.1.152"]);
    meanwhile(&client, &["provision"], right, || {
        let before = serial(&client);
        rewrite(&lab, &server, TAKEN, replace("lease = \"8h\"", "lease = \"2h\""));
        reload(&server, TAKEN);
        assert_eq!(serial(&client), before, "nothing new");
        // Beside it a host, in another rhythm, and a pool that nobody knows anything of.
        rewrite(&lab, &server, TAKEN, |text| {
            text.replace("interval = \"300ms\"", "interval = \"250ms\"")
                + "\n[[host]]\nname = \"fax\"\naddress = \"10.250.1.160\"\n[[proxy]]\n\
                   name = \"pool\"\nhosts = [\"fax\"]\norder = \"active-only\"\n\
                   health = { probe = \"tcp\", port = 5060, interval = \"1s\", fall = 9 }\n"
        });
        let now = servers();
        assert_eq!(now.len(), 3, "{now:?}");
        assert_eq!(now[0]["state"], "down");
        assert_eq!((&now[0]["since"], &now[0]["changes"]), (&dead["since"], &dead["changes"]));
        assert!(now[0]["probes"].as_u64() >= dead["probes"].as_u64(), "{now:?}");
        assert_eq!((&now[1]["state"], &now[2]["state"]), (&"up".into(), &"unknown".into()));
        assert_eq!(dig(&client, "pool.lab.voip A"), "10.250.1.160");
    });
    // It is asked still, and comes back.
    first.set(Manner::Good);
    let back = becomes(0, "up");
    assert_eq!(back["changes"].as_u64(), dead["changes"].as_u64().map(|it| it + 1));
    // Asked otherwise it is another server; and down again.
    first.set(Manner::Silent);
    becomes(0, "down");
    rewrite(&lab, &server, TAKEN, |text| {
        let pool = text.find("[[host]]\nname = \"fax\"").unwrap();
        text[..pool].to_owned()
    });
    assert_eq!(servers().len(), 2);
    assert_eq!(dig(&client, "provision.lab.voip A"), "10.250.1.152");
    // Not watched any more: all of them.
    rewrite(&lab, &server, TAKEN, |text| {
        let begin = text.find("order = \"active-only\"").unwrap();
        let end = text.find("sip = {").unwrap();
        format!("{}{}", &text[..begin], &text[end..])
    });
    assert_eq!(dig(&client, "provision.lab.voip A").lines().count(), 2);
    assert!(servers().is_empty());
    // And watched again, of which nothing is known.
    rewrite(&lab, &server, TAKEN, replace("sip = {", watched));
    assert_eq!(dig(&client, "provision.lab.voip A").lines().count(), 2);
    becomes(0, "down");
    assert_eq!(dig(&client, "provision.lab.voip A"), "10.250.1.152");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_group_that_a_reload_leaves_no_server_that_is_up_is_said_to_have_none() {
    let watched = "order = \"active-only\"\nhealth = { probe = \"tcp\", interval = \"300ms\", \
                   timeout = \"200ms\", rise = 1, fall = 2, damping = 0 }\nsip = {";
    let lab = Lab::changed(&[("sip = {", watched)]);
    let machine = |address: &str| lab.machine(Vlan::Voice, address, "10.250.1.1");
    // Nothing listens there: it refuses.
    let _first = machine("10.250.1.151/24");
    let second = machine("10.250.1.152/24");
    let _listener = second.enter(|| std::net::TcpListener::bind("10.250.1.152:8060").unwrap());
    let server = lab.serve();
    server.wait_for_log(&["a server is down", "vm40ic1"]);
    server.wait_for_log(&["a server is up", "vm40ic2"]);
    const LOST: &str = "no server is up";
    assert!(!server.log().contains(LOST), "{}", server.log());
    let both = "hosts = [\"vm40ic1\", \"vm40ic2\"]";
    rewrite(&lab, &server, TAKEN, replace(both, "hosts = [\"vm40ic1\"]"));
    assert_eq!(server.log().matches(LOST).count(), 1, "{}", server.log());
    reload(&server, TAKEN);
    assert_eq!(server.log().matches(LOST).count(), 1, "once: {}", server.log());
    rewrite(&lab, &server, TAKEN, replace("hosts = [\"vm40ic1\"]", both));
    server.wait_for_lines("a server is up", 2);
    assert_eq!(server.terminate(), Some(0));
}
