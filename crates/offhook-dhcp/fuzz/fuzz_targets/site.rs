//! The site of the tests with everything switched on that reads what clients send.

use offhook_model::{BytesTest, Class, Condition, Phone, PhoneKey, Send, Site};

use crate::support;

pub(crate) fn site() -> Site {
    let mut site = support::site();
    site.dhcp.subnet_selection = true;
    let text = |text: &str| BytesTest::Pattern(text.as_bytes().into());
    let conditions = [
        Condition::UserClass(text("lob?y*")),
        Condition::PolycomField(2, text("SoundStation*")),
        Condition::VendorClassOf(13885, text("*a*b*")),
        Condition::VendorOptionsOf(1051, BytesTest::Present),
        Condition::HostName(text("desk-*")),
        Condition::All(vec![
            Condition::CircuitId(text("port*")),
            Condition::Not(Box::new(Condition::RemoteId(text("box")))),
        ]),
    ];
    let first = site.classes.first().cloned();
    for (number, condition) in conditions.into_iter().enumerate() {
        let class = first.clone().map(|class| Class {
            name: format!("special {number}"),
            evidence: Vec::new(),
            condition: Some(condition),
            boot: offhook_model::BootFields::default(),
            trailing_nul: number % 2 == 0,
            options: vec![
                support::rule(43, &[7; 300], Send::IfRequested),
                support::rule(224, &[8; 40], Send::Always),
            ],
            ..class
        });
        site.classes.extend(class);
    }
    for (key, address) in [
        (PhoneKey::ClientId(b"\0id".as_slice().into()), Some("10.250.1.22")),
        (PhoneKey::CircuitId(b"port 7".as_slice().into()), Some("10.250.1.200")),
        (PhoneKey::RemoteId(b"floor 3".as_slice().into()), Some("10.250.1.201")),
        (PhoneKey::HostName("desk-7".into()), None),
    ] {
        site.phones.push(Phone { key, ..support::phone(support::mac(0), address, Vec::new()) });
    }
    site
}
