//! What the kernel is asked for while a client waits.

use std::fs;
use std::time::{Duration, Instant};

use crate::lab::{Lab, PATIENCE, Server, Vlan};
use crate::packet::*;

/// How long processors may take to wake up, in microseconds: no time at all, and as long as they like.
const AT_ONCE: [u8; 4] = [0; 4];
const AT_LEISURE: [u8; 4] = 2_000_000_000_i32.to_ne_bytes();

#[test]
fn processors_are_kept_awake_from_a_message_until_a_while_after_the_last() {
    let lab = Lab::new();
    let device = lab.dir.path().join("cpu_dma_latency");
    // As systemd passes what OpenFile= names.
    let script = "exec 3>\"$0\"; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=cpu_dma_latency; exec \"$@\"";
    let mut command = lab.appliance.daemon("sh");
    command.args(["-c", script]).arg(&device).arg(env!("CARGO_BIN_EXE_offhook"));
    command.arg("run").arg("--config").arg(lab.config()).arg("--state").arg(lab.state());
    let server = Server::spawn(&mut command);
    server.wait_for_log(&["serving", "scopes"]);
    let told = || fs::read(&device).unwrap();
    assert!(told().is_empty(), "nobody waits");
    let client = lab.client(Vlan::Native);
    for n in 1..4 {
        let (began, before) = (Instant::now(), told().len());
        client.enter(|| Card::open("eth0").lease(mac(n), n, &[]));
        while told().len() == before || !told().ends_with(&AT_LEISURE) {
            assert!(began.elapsed() < PATIENCE, "{:?}", told());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
    // Once for each exchange, and again where this machine took its time for one.
    assert!(told().chunks(8).all(|pair| pair == [AT_ONCE, AT_LEISURE].concat()), "{:?}", told());
    assert_eq!(server.terminate(), Some(0));
}
