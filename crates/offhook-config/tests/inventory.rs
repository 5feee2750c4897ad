//! The phone list: both forms of the guide, and rows with mistakes.

use std::path::Path;

use offhook_config::{Files, Loaded, Severity, parse};
use offhook_model::{Phone, PhoneKey, Site, Source, Time};

/// One list, whatever it is called.
struct List(Vec<u8>);

impl Files for List {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        None
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        assert!(path.ends_with("phones.csv") || path.ends_with("more.csv"));
        Ok(self.0.clone())
    }
}

const LAB: &str = include_str!("../../../config/lab.toml");

fn read(list: impl Into<Vec<u8>>, more: &str) -> Loaded {
    let text = format!("{LAB}\n[inventory]\nfile = \"phones.csv\"\n{more}");
    parse("lab.toml", Path::new("/etc/offhook"), &text, Time::default(), &List(list.into()))
}

fn site(list: impl Into<Vec<u8>>) -> Site {
    let loaded = read(list, "");
    assert!(loaded.diagnostics.is_ok(), "{}", loaded.diagnostics.render(false));
    loaded.site.expect("no errors")
}

/// Code, file, line and column of what is wrong with the list itself.
fn mistakes(loaded: &Loaded) -> Vec<(&'static str, u32, u32)> {
    let of_list = loaded.diagnostics.iter().filter(|d| &*d.file == "/etc/offhook/phones.csv");
    of_list.map(|d| (d.code.name(), d.line, d.column)).collect()
}

fn class_of<'s>(site: &'s Site, phone: &Phone) -> Option<&'s str> {
    site.class(phone.class?).map(|class| class.name.as_str())
}

fn mac(text: &str) -> PhoneKey {
    PhoneKey::Mac(text.parse().expect("a MAC address"))
}

const SHORT: &str = "\
Name,Template,Proxy Group,Extension,Identification Address,Label,Address
Reception,AudioCodes 440HD,Managed IP Phones - TCP,7400,7400,Front desk,00908F123456
\"Doe, Jane\",Polycom VVX 410 template,,7401,7401,,00:04:f2:00:00:01
Agent1,SIP Soft Phone,,7402,7402,,Agent1.lab.local
Spare,Interaction SIP Station,,7403,7403,,
Room 405,Room 405,,7404,7404,,00.26.fd.00.00.09
";

const LONG: &str = "\
Name,Type,Manufacturer,Model,Proxy Group,Extension,Identification Address,Label,Address
AgentISS0,Stand-alone Phone,ININ,Interaction SIP Station,Remote Agent ISS - TCP,7401,7401,,0026FD000201
AgentISS1,Stand-alone Phone,ININ,Interaction SIP Station,Remote Agent ISS - TCP,7402,7402,,0026DF00020
AgentISS2,Stand-alone Phone,ININ,Interaction SIP Station II,,7403,7403,,00908f000203
Agent4,Stand-alone Phone,AudioCodes,450HD,,7404,7404,,00908f000204
Agent5,Workstation,,,,7405,7405,,PC-5.lab.local
";

#[test]
fn the_short_form_becomes_the_inventory() {
    let site = site(SHORT);
    let found: Vec<_> = site
        .phones
        .iter()
        .map(|phone| (phone.name.as_deref().unwrap(), phone.key.clone(), class_of(&site, phone)))
        .collect();
    let expected = [
        ("Reception", mac("00:90:8f:12:34:56"), Some("440HD")),
        ("Doe, Jane", mac("00:04:f2:00:00:01"), Some("Polycom")),
        ("Agent1", PhoneKey::HostName("agent1".to_owned()), Some("SoftPhone")),
        ("Room 405", mac("00:26:fd:00:00:09"), None),
    ];
    assert_eq!(found, expected);
    assert!(site.phones.iter().all(|phone| phone.address.is_none() && phone.options.is_empty()));
    let origin = &site.phones[2].origin;
    assert_eq!(origin.source, Source::Config("/etc/offhook/phones.csv".into()));
    assert_eq!(origin.line, 4);
}

#[test]
fn the_guides_row_with_a_digit_too_few_is_skipped_and_the_rest_is_used() {
    let loaded = read(LONG, "");
    assert!(loaded.diagnostics.is_ok());
    assert_eq!(mistakes(&loaded), [("bad-mac", 3, 92)]);
    insta::assert_snapshot!("short-mac", loaded.diagnostics.render(false));
    let json: serde_json::Value = serde_json::from_str(&loaded.diagnostics.to_json()).unwrap();
    let last = json.as_array().unwrap().last().unwrap();
    assert_eq!(last["text"], "0026DF00020");
    assert_eq!(last["file"], "/etc/offhook/phones.csv");
    let site = loaded.site.unwrap();
    let found: Vec<_> =
        site.phones.iter().map(|phone| (phone.key.clone(), class_of(&site, phone))).collect();
    let expected = [
        // The model has no number: the address tells the family.
        (mac("00:26:fd:00:02:01"), None),
        (mac("00:90:8f:00:02:03"), Some("SIP200")),
        (mac("00:90:8f:00:02:04"), None),
        (PhoneKey::HostName("pc-5".to_owned()), Some("SoftPhone")),
    ];
    assert_eq!(found, expected);
}

#[test]
fn bad_rows_are_warnings_each_with_its_place() {
    let list = "Name,Template,Proxy Group,Extension,Identification Address,Label,Address\n\
                a,,,1,1,,00:90:8f:00:00:0g\n\
                b,,,1,1,,00908f000001\n\
                c,,,1,1,00908f000003\n\
                \n\
                d,,,1,1,,N/A\n\
                e,,,1,1,,00-90-8F-00-00-01\n\
                ,,,,,,\n\
                f, g,,,1,1,,00908f000004\n\
                \"h\",\"\",,1,1,\"x, y\",00908FO00005\n\
                i,,,1,1,,0026fd000006,\n";
    let loaded = read(list, "");
    let expected = [
        ("bad-mac", 2, 10),
        ("inventory-row", 4, 1),
        ("inventory-row", 6, 10),
        ("duplicate-phone", 7, 10),
        ("inventory-row", 9, 1),
        ("bad-mac", 10, 20),
    ];
    assert_eq!(mistakes(&loaded), expected);
    let of_list = loaded.diagnostics.iter().filter(|d| d.file.ends_with(".csv"));
    assert!(of_list.clone().all(|d| d.severity == Severity::Warning && d.hint.is_some()));
    let names: Vec<_> = loaded.site.unwrap().phones.into_iter().filter_map(|p| p.name).collect();
    assert_eq!(names, ["b", "i"]);
}

#[test]
fn what_is_meant_as_a_mac_address_is_no_computer() {
    for address in [
        "0x00908F123406",
        "OO908F123401",
        "0O1122334455",
        "00112233445l",
        "SEP00908F123405",
        "00_90_8f_12_34_10",
        "ff:ff:ff:ff:ff:ff",
        "000000000000",
        "01005e000001",
    ] {
        let list = format!("Name,Address\na,{address}\nb,00908f000001\n");
        let loaded = read(list, "");
        assert_eq!(mistakes(&loaded), [("bad-mac", 2, 3)], "{address}");
        assert_eq!(loaded.site.unwrap().phones.len(), 1, "{address}");
    }
    for computer in ["pc-0012345678", "desktop-1a2b3c4", "office-12", "lol.lab.local", "cafe"] {
        let site = site(format!("Name,Address\na,{computer}\n"));
        let label = computer.split('.').next().unwrap().to_owned();
        assert_eq!(site.phones[0].key, PhoneKey::HostName(label));
    }
}

#[test]
fn a_bad_row_takes_no_other_along() {
    let used = |list: String| {
        let loaded = read(list, "");
        let names = |site: Site| site.phones.into_iter().filter_map(|phone| phone.name).collect();
        (mistakes(&loaded), loaded.site.map(names).unwrap_or_default())
    };
    let header = "Name,Template,Proxy Group,Extension,Identification Address,Label,Address";
    let good = |name: &str, last: u8| format!("{name},,,1,1,,00908f0000{last:02}\n");
    let rest = good("b", 2) + &good("c", 3);
    let both: Vec<String> = vec!["b".into(), "c".into()];
    // Quotes that are not closed, or closed in the middle of a cell.
    for row in
        ["\"a,,,1,1,,00908f000001", "a,,,1,1,,\"00908f000001", "a,,,1,1,\"5\"\" x\"y,00908f000001"]
    {
        let expected = (vec![("inventory-row", 2, 1)], both.clone());
        assert_eq!(used(format!("{header}\n{row}\n{rest}")), expected, "{row}");
    }
    // What stands above the header, or above the first row of a list without one.
    for above in ["# phones", "Phones of the site", "a,b,c"] {
        let expected = (vec![("inventory-row", 1, 1)], both.clone());
        assert_eq!(used(format!("{above}\n{header}\n{rest}")), expected, "{above}");
        assert_eq!(used(format!("{above}\n{rest}")), expected, "{above}");
    }
    // The line with which Excel states the separator is none.
    let excel = format!("sep=;\n{}", format!("{header}\n{rest}").replace(',', ";"));
    assert_eq!(used(excel), (vec![], both.clone()));
    // A label is no header, and what has no letter no computer.
    let label = format!("{header}\nb,,,1,1,Address,00908f000002\nc,,,1,1,,00908f000003\n");
    assert_eq!(used(label), (vec![], both.clone()));
    let numbers = format!("{header}\na,,,1,1,,10.1.2.3\nd,,,1,1,,7401\n{rest}");
    assert_eq!(used(numbers), (vec![("inventory-row", 2, 10), ("inventory-row", 3, 10)], both));
}

#[test]
fn a_list_may_be_as_spreadsheets_write_it() {
    let names = |list: Vec<u8>| {
        site(list).phones.into_iter().map(|phone| phone.name.unwrap()).collect::<Vec<_>>()
    };
    let expected = ["Reception", "Doe, Jane", "Agent1", "Room 405"];
    assert_eq!(names(SHORT.into()), expected);
    assert_eq!(names(SHORT.replace('\n', "\r\n").into()), expected);
    assert_eq!(names(format!("\u{feff}{SHORT}").into()), expected);
    assert_eq!(names(format!("\n\n{SHORT}").into()), expected);
    assert_eq!(names(SHORT.replace("Doe, Jane", "Doe; Jane").replace(',', ";").into()).len(), 4);
    // Without the header, by the number of columns.
    assert_eq!(
        names(SHORT.lines().skip(1).map(|l| format!("{l}\n")).collect::<String>().into()),
        expected
    );
    // Not UTF-8: a byte is a character.
    let latin: Vec<u8> =
        SHORT.replace("Room", "Z#rich").bytes().map(|b| if b == b'#' { 0xfc } else { b }).collect();
    assert!(names(latin).contains(&"Zürich 405".to_owned()));
    // As Windows redirects output.
    let utf16 = |order: fn(u16) -> [u8; 2]| {
        format!("\u{feff}{SHORT}").encode_utf16().flat_map(order).collect::<Vec<u8>>()
    };
    assert_eq!(names(utf16(u16::to_le_bytes)), expected);
    assert_eq!(names(utf16(u16::to_be_bytes)), expected);
    // Columns in another order, and some of them missing.
    assert_eq!(names("Address, name\n00908f000001, x\n".into()), ["x"]);
    assert!(names("Name,Address\n".into()).is_empty());
}

#[test]
fn what_the_file_says_of_a_listed_phone_adds_to_its_row() {
    let phone = "[[phone]]\nmac = \"00:90:8f:12:34:56\"\naddress = \"10.250.1.30\"\n";
    let site = read(SHORT, phone).site.unwrap();
    assert_eq!(site.phones.len(), 4);
    let desk = &site.phones[0];
    assert_eq!(desk.name.as_deref(), Some("Reception"));
    assert_eq!(desk.address, Some("10.250.1.30".parse().unwrap()));
    assert_eq!(class_of(&site, desk), Some("440HD"));
}

#[test]
fn several_lists_are_one_inventory() {
    let text = format!("{LAB}\n[inventory]\nfile = [\"phones.csv\", \"more.csv\"]\n");
    let loaded = parse("lab.toml", Path::new(""), &text, Time::default(), &List(SHORT.into()));
    let twice: Vec<_> = loaded.diagnostics.iter().filter(|d| &*d.file == "more.csv").collect();
    assert_eq!(twice.len(), 4);
    assert!(twice.iter().all(|d| d.code.name() == "duplicate-phone" && d.related.is_empty()));
    assert_eq!(loaded.site.unwrap().phones.len(), 4);
}

#[test]
fn a_list_that_is_none_is_an_error() {
    for (list, code) in [("a,b,c\n1,2,3\n", "inventory-columns"), ("\0\0\0", "inventory-columns")] {
        let loaded = read(list, "");
        assert_eq!(mistakes(&loaded), [(code, 1, 1)]);
        assert!(loaded.site.is_none());
    }
    // One that was cut off by a full disk, say, is not passed over in silence.
    for list in ["", "\n\r\n", "\u{feff}"] {
        let loaded = read(list, "");
        assert_eq!(mistakes(&loaded), [("inventory-columns", 1, 1)]);
        assert!(loaded.site.expect("a warning").phones.is_empty());
    }
}
