//! Names of leases: those that stay, those that the configuration takes and gives back, and a hundred thousand of them.

use offhook_model::{ClientId, HardwareAddress, Lease, LeaseState, LeaseWrite, Mac, Time};

use super::*;

#[test]
fn the_name_of_a_phone_survives_and_one_that_the_configuration_takes_comes_back() {
    let (lab, server, client) = office(&[]);
    let phone = lab.client(Vlan::Voice);
    let lease = |n: u32| {
        let options: [(u8, &[u8]); 2] = [(60, b"440HD"), (12, b"desk")];
        phone.enter(|| Card::open("eth0").lease(mac(n), n, &options).yiaddr().to_string())
    };
    let address = lease(1);
    let model = format!("440hd-{}.lab.voip", mac(1).plain());
    let deadline = Instant::now() + PATIENCE;
    while dig(&client, "desk.lab.voip") != address {
        assert!(Instant::now() < deadline, "no name");
    }
    let is_named = |desk: &str, pointer: &str| {
        assert_eq!(dig(&client, &model), address);
        assert_eq!(dig(&client, "desk.lab.voip"), desk);
        assert_eq!(dig(&client, &format!("-x {address}")), format!("{pointer}."));
    };
    is_named(&address, "desk.lab.voip");
    let (model_first, at) =
        (&*format!("440hd-{}", mac(1).plain()), address.parse::<Ipv4Addr>().unwrap());
    let right = |_: &str, found: &[Ipv4Addr]| found == [at];
    meanwhile(&client, &[model_first], right, || {
        rewrite(&lab, &server, TAKEN, replace("port = 8088", "port = 8089"));
    });
    is_named(&address, "desk.lab.voip");

    let host = "[[host]]\nname = \"desk\"\naddress = \"10.250.1.161\"";
    rewrite(&lab, &server, TAKEN, append(host));
    is_named("10.250.1.161", &model);
    assert_eq!(dig(&client, "-x 10.250.1.161"), "desk.lab.voip.");
    // Renewed meanwhile, and wanted by another.
    lease(1);
    lease(2);
    is_named("10.250.1.161", &model);
    rewrite(&lab, &server, TAKEN, |text| text.replace(host, ""));
    is_named(&address, "desk.lab.voip");

    let off = |text: String| text.replace("[dns]\n", "[dns]\nhost_names = false\n");
    rewrite(&lab, &server, TAKEN, off);
    is_named("", &model);
    rewrite(&lab, &server, TAKEN, |text| text.replace("host_names = false", "lease_names = false"));
    assert_eq!(dig(&client, &model), "");
    assert_eq!(dig(&client, &format!("-x {address}")), "");
    rewrite(&lab, &server, TAKEN, |text| text.replace("lease_names = false\n", ""));
    is_named(&address, "desk.lab.voip");
    // And a phone that comes afterwards.
    lease(3);
    let third = format!("440hd-{}.lab.voip", mac(3).plain());
    let deadline = Instant::now() + PATIENCE;
    while dig(&client, &third).is_empty() {
        assert!(Instant::now() < deadline, "no name");
    }
}

/// So many leases in the store of a lab, in 10.64.0.0/15.
fn fill(lab: &Lab, leases: u32) -> impl Fn(u32) -> (String, Ipv4Addr) + Sync {
    let hardware = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        HardwareAddress::from(Mac([0, 0x90, 0x8f, a, b, c]))
    };
    let address = |n: u32| Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 64, 0, 1)) + n);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let since = Time::from_secs(now.as_secs());
    let (mut store, _) = offhook_store::Store::open(&lab.state()).unwrap();
    let all: Vec<_> = (0..leases)
        .map(|n| {
            LeaseWrite::Put(Lease {
                address: address(n),
                client: ClientId::Hardware(hardware(n)),
                hardware: hardware(n),
                state: LeaseState::Bound,
                since,
                expires: since + Duration::from_secs(86_400),
                scope: "big".into(),
                class: Some("440HD".into()),
                host_name: Some(format!("phone-{n}").into_bytes().into()),
            })
        })
        .collect();
    all.chunks(10_000).for_each(|some| store.commit(some).unwrap());
    move |n| {
        let [_, a, b, c] = n.to_be_bytes();
        (format!("440hd-00908f{a:02x}{b:02x}{c:02x}"), address(n))
    }
}

const BIG: &str = "[[scope]]\nname = \"big\"\nsubnet = \"10.64.0.0/15\"\nrouter = \"10.65.255.254\"\n\
                   pools = [\"10.64.0.1-10.65.255.253\"]\nlease = \"1d\"\nvoice = \"voice\"\n";

#[test]
fn a_hundred_thousand_names_survive_and_hold_up_nobody() {
    const LEASES: u32 = 100_000;
    let lab = Lab::changed(&[(
        "[[scope]]\nname = \"voice\"",
        &format!("{BIG}\n[[scope]]\nname = \"voice\""),
    )]);
    let named = fill(&lab, LEASES);
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let server = lab.serve();
    // It may still have to do with its beginning, and a busy machine with much else.
    let first = dig(&client, "+tries=5 vm40ic2.lab.voip A");
    assert_eq!(first.lines().last(), Some("10.250.1.152"));
    let some = [0, 7, 255, LEASES / 3, LEASES / 2, LEASES - 1].map(&named);
    let labels = some.each_ref().map(|(label, _)| label.as_str());
    let right = |name: &str, found: &[Ipv4Addr]| match some.iter().find(|(label, _)| label == name)
    {
        Some((_, address)) => found == [*address],
        None => found.len() == 1,
    };
    let asked = meanwhile(&client, &[&labels[..], &["vm40ic2"]].concat(), right, || {
        for round in 0..4 {
            let (from, to) =
                [("10.250.1.152", "10.250.1.153"), ("10.250.1.153", "10.250.1.152")][round % 2];
            rewrite(&lab, &server, TAKEN, |text| text.replace(from, to));
            for (label, address) in &some {
                assert_eq!(dig(&client, &format!("{label}.lab.voip")), address.to_string());
                assert!(dig(&client, &format!("-x {address}")).starts_with("phone-"));
            }
        }
    });
    assert!(asked > 100, "{asked}");
}

#[test]
fn many_reloads_one_after_the_other_leave_the_last_one_in_force_and_memory_as_it_was() {
    let lab = Lab::changed(&[(
        "[[scope]]\nname = \"voice\"",
        &format!("{BIG}\n[[scope]]\nname = \"voice\""),
    )]);
    let named = fill(&lab, 3000);
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let server = lab.serve();
    let good = fs::read_to_string(lab.config()).unwrap();
    let write = |last: u8| {
        // In one step, as editors do: it is read at any time.
        let new = lab.dir.path().join("new.toml");
        fs::write(&new, good.replace("10.250.1.152", &format!("10.250.1.{last}"))).unwrap();
        fs::rename(new, lab.config()).unwrap();
    };
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let round = |times: u32| {
        for n in 0..times {
            write(160 + (n % 20) as u8);
            server.hang_up();
            server.hang_up();
            if n % 5 == 0 {
                reload(&server, TAKEN);
            }
        }
        write(199);
        let deadline = Instant::now() + PATIENCE;
        // Signals that come while one is heeded are one.
        server.hang_up();
        while dig(&client, "vm40ic2.lab.voip A") != "10.250.1.199" {
            assert!(Instant::now() < deadline, "{}", server.log());
        }
    };
    round(60);
    let before = resident();
    round(60);
    round(60);
    let after = resident();
    assert!(after < before + 4096, "{before} KiB, then {after} KiB");
    let (label, address) = named(2999);
    assert_eq!(dig(&client, &format!("{label}.lab.voip")), address.to_string());
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    assert_eq!(server.terminate(), Some(0));
}
