//! Whatever a client sends, and in whatever order: no name leads out of the root, no block holds anything but the
//! bytes that belong into it, no more is sent than was asked for, and every transfer comes to an end.
//!
//! The input is one octet that chooses the limits, a request that ends with two octets of ones, and then what
//! happens: an octet that says what, and for some two octets more.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use offhook_tftp::{
    BootFiles, FirstContact, Limits, Mode, OpenError, Packet, Rollover, Transfer, Tree,
    first_contact, lookup, stray_reply,
};

/// Any path is a file, as long as it may be one.
struct Anything;

impl Tree for Anything {
    type File = ();

    fn open(&self, path: &[u8]) -> Result<(), OpenError> {
        assert!(!path.contains(&0));
        for component in path.split(|byte| *byte == b'/') {
            assert!(!matches!(component, b"" | b"." | b".."), "{}", path.escape_ascii());
        }
        Err(OpenError::NotFound)
    }

    fn list(&self, _: &[u8], entry: &mut dyn FnMut(&[u8])) {
        entry(b"440hd.img");
        entry(b"440HD.img");
    }
}

fn image() -> Arc<[u8]> {
    (0..5000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Sends what there is to send, and looks at it; says how many blocks it was.
fn transmit(transfer: &mut Transfer<Arc<[u8]>>, file: &[u8], mode: Mode, now: Instant) -> usize {
    let (mut blocks, mut out) = (0, Vec::new());
    while let Some(segment) = transfer.poll_transmit(now, &mut out, 7) {
        let size = usize::from(transfer.terms().block_size);
        for datagram in out.chunks(segment) {
            match Packet::decode(datagram).expect("what is sent is a packet") {
                Packet::Data { block, payload } => {
                    blocks += 1;
                    assert!(payload.len() <= size);
                    if mode == Mode::Octet {
                        let start = (usize::from(block) - 1) * size;
                        let end = file.len().min(start + size);
                        assert_eq!(payload, &file[start..end]);
                    }
                }
                Packet::OptionAck(_) => assert!(!transfer.terms().accepted.is_empty()),
                other => panic!("{other:?}"),
            }
        }
        out.clear();
    }
    blocks
}

fuzz_target!(|input: &[u8]| {
    let _ = stray_reply(input);
    let Some((&choice, rest)) = input.split_first() else { return };
    let end = rest.windows(2).position(|two| two == b"\xff\xff").unwrap_or(rest.len());
    let (datagram, mut rest) = (&rest[..end], rest.get(end + 2..).unwrap_or_default());
    let request = match first_contact(datagram) {
        FirstContact::Read(request) => request,
        FirstContact::Refuse(refusal, _) => {
            assert!(matches!(Packet::decode(&refusal.packet()), Ok(Packet::Error { .. })));
            return;
        }
        FirstContact::Ignore => return,
    };
    let _ = lookup(request.name, &Anything);
    for name in BootFiles::new([&b"440hd.img"[..], b"sub/405.img"]).spellings(request.name) {
        assert!(name.split(|byte| matches!(byte, b'/' | b'\\')).all(|part| part != b".."));
        let _ = lookup(&name, &Anything);
    }
    let limits = Limits {
        rollover: if choice & 1 == 0 { Rollover::ToZero } else { Rollover::ToOne },
        window: [64, 1, 32_767, 8][usize::from(choice >> 1 & 3)],
        ..Limits::default()
    };
    let (file, mut now) = (image(), Instant::now());
    let mut transfer = Transfer::new(&request, Arc::clone(&file), &limits, now);
    let most = usize::from(transfer.terms().window);
    assert!(most <= usize::from(limits.window));
    let mut last = 0_u16;
    assert!(transmit(&mut transfer, &file, request.mode, now) <= most);
    while let Some((&what, after)) = rest.split_first() {
        rest = after;
        match what % 8 {
            // The next acknowledgement, as a client that loses nothing sends it.
            0 | 1 => {
                let step = if what & 8 == 0 { 1 } else { transfer.terms().window };
                transfer.handle(now, &Packet::Ack { block: last });
                last = last.wrapping_add(step);
            }
            2 => transfer.timeout(now),
            3 => {
                now = transfer.deadline().map_or(now, |deadline| deadline.max(now));
                transfer.timeout(now);
            }
            4 => drop(transfer.request_repeated()),
            5 => now += Duration::from_millis(u64::from(what)),
            6 => {
                let Some((block, after)) = rest.split_first_chunk::<2>() else { break };
                (last, rest) = (u16::from_be_bytes(*block), after);
                transfer.handle(now, &Packet::Ack { block: last });
            }
            _ => {
                let end = rest.len().min(usize::from(what >> 3));
                let (datagram, after) = rest.split_at(end);
                rest = after;
                if let Ok(packet) = Packet::decode(datagram) {
                    transfer.handle(now, &packet);
                }
            }
        }
        assert!(transmit(&mut transfer, &file, request.mode, now) <= most);
    }
    // Nobody answers any more.
    for _ in 0..1000 {
        let Some(deadline) = transfer.deadline() else { break };
        now = now.max(deadline);
        transfer.timeout(now);
        transmit(&mut transfer, &file, request.mode, now);
    }
    assert!(transfer.outcome().is_some(), "it does not end");
});
