//! Whom we ask: others at once, and the same as before.

use super::*;

/// Answers every A question with 192.0.2.`last`, for an hour.
fn upstream(netns: &Netns, address: &str, last: u8) {
    let socket = netns.enter(|| UdpSocket::bind((address, 53)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let asked = DnsMessage::from_vec(&buffer[..length]).unwrap();
            let query = asked.queries[0].clone();
            let mut answer =
                DnsMessage::response(asked.metadata.id, hickory_proto::op::OpCode::Query);
            answer.metadata.recursion_available = true;
            if query.name().to_ascii().starts_with("quit.") {
                return;
            }
            if query.query_type() == hickory_proto::rr::RecordType::A {
                let data = RData::A(hickory_proto::rr::rdata::A::new(192, 0, 2, last));
                let record =
                    hickory_proto::rr::Record::from_rdata(query.name().clone(), 3600, data);
                answer.add_answer(record);
            }
            answer.add_query(query);
            let _ = socket.send_to(&answer.to_vec().unwrap(), from);
        }
    });
}

#[test]
fn other_upstreams_are_asked_at_once_and_what_is_known_of_those_that_stay_is_kept() {
    let forward = "forward = { \"lab.local\" = [\"10.250.0.2\"] }";
    let with = |servers: &str| format!("forward = {{ {servers} }}");
    let both = with("\"one.example\" = [\"10.250.1.211\"], \"two.example\" = [\"10.250.1.212\"]");
    let (lab, server, client) = office(&[(forward, &both)]);
    let machines = ["10.250.1.211", "10.250.1.212", "10.250.1.213"].map(|address| {
        let machine = lab.machine(Vlan::Voice, &format!("{address}/24"), "10.250.1.1");
        let last = address.rsplit('.').next().unwrap().parse().unwrap();
        upstream(&machine, address, last);
        machine
    });
    assert_eq!(dig(&client, "a.one.example A"), "192.0.2.211");
    assert_eq!(dig(&client, "a.two.example A"), "192.0.2.212");
    let counts = |what: &str| status(&lab)["dns"]["counts"][what].as_u64().unwrap();
    let (asked, before) = (counts("upstream-asked"), serial(&client));

    let other = "\"one.example\" = [\"10.250.1.213\"], \"two.example\" = [\"10.250.1.212\"], \
                 \"lab.local\" = [\"10.250.1.222\", \"10.250.1.213\"]";
    rewrite(&lab, &server, TAKEN, |text| text.replace(&both, &with(other)));
    assert_eq!(dig(&client, "a.one.example A"), "192.0.2.213", "not what the other one said");
    assert_eq!(dig(&client, "+tcp a.one.example A"), "192.0.2.213");
    assert_eq!(dig(&client, "a.two.example A"), "192.0.2.212");
    assert_eq!(counts("upstream-asked"), asked + 1, "that of the other zone is kept");
    assert_eq!(serial(&client), before, "no record has changed");

    // Somebody who does not answer is not waited for again after a reload.
    let deadline = Instant::now() + PATIENCE;
    let mut n = 0;
    while !server.log().contains("upstream 10.250.1.222 does not answer") {
        assert!(Instant::now() < deadline, "{}", server.log());
        assert_eq!(dig(&client, &format!("{n}.lab.local A")), "192.0.2.213");
        n += 1;
    }
    rewrite(&lab, &server, TAKEN, replace("port = 8088", "port = 8089"));
    let begun = Instant::now();
    assert_eq!(dig(&client, "later.lab.local A"), "192.0.2.213");
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    let upstreams = status(&lab)["dns"]["upstreams"].as_array().unwrap().clone();
    let silent = |server: &str| {
        let of = upstreams.iter().find(|it| it["server"] == *server);
        of.unwrap_or_else(|| panic!("{upstreams:?}"))["silent_seconds"].is_u64()
    };
    assert!(silent("10.250.1.222:53") && !silent("10.250.1.213:53"));

    // Nobody is asked any more.
    rewrite(&lab, &server, TAKEN, |text| text.replace(&with(other), ""));
    for name in ["a.one.example", "a.two.example", "0.lab.local"] {
        assert!(whole(&client, &format!("{name} A")).contains("status: REFUSED"), "{name}");
    }
    assert_eq!(status(&lab)["dns"]["cached"], 0);
    assert_eq!(status(&lab)["dns"]["upstreams"].as_array().unwrap().len(), 0);
    for (machine, last) in machines.iter().zip(211..) {
        let _ = output(machine.command("dig").args([
            &format!("@10.250.1.{last}"),
            "+tries=1",
            "+time=1",
            "quit.example",
        ]));
    }
    assert_eq!(server.terminate(), Some(0));
}
