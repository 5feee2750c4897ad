//! Classes by expression: what `match` reads as, and what is none.

use offhook_model::{BytesTest, Condition, ScopeId};

use crate::*;

fn is(text: &str) -> BytesTest {
    BytesTest::Is(text.as_bytes().into())
}

fn pattern(text: &str) -> BytesTest {
    BytesTest::Pattern(text.as_bytes().into())
}

fn prefix(text: &[u8]) -> BytesTest {
    BytesTest::Prefix(text.into())
}

fn exact(bytes: &[u8]) -> BytesTest {
    BytesTest::Exact(bytes.into())
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

#[test]
fn a_match_is_the_expression_that_it_reads_as() {
    use Condition::*;
    let cases = [
        ("{ vendor_class = \"door\" }", Option(60, is("door"))),
        ("{ vendor_class = \"foo*\" }", Option(60, pattern("foo*"))),
        ("{ vendor_class = { is = \"foo*\" } }", Option(60, is("foo*"))),
        (
            "{ vendor_class = { prefix = { hex = \"0000363d\" } } }",
            Option(60, BytesTest::ExactPrefix((*b"\0\x006=").into())),
        ),
        (
            "{ user_class = [\"a\", \"b?\"] }",
            Any(vec![UserClass(is("a")), UserClass(pattern("b?"))]),
        ),
        ("{ user_class = true }", UserClass(BytesTest::Present)),
        ("{ host_name = { present = false } }", not(HostName(BytesTest::Present))),
        (
            "{ polycom = { part = \"VVX*\", version = { prefix = \"5.\" } } }",
            All(vec![PolycomField(2, pattern("VVX*")), PolycomField(4, prefix(b"5."))]),
        ),
        ("{ vendor_class_of = { enterprise = 9, is = \"a\" } }", VendorClassOf(9, is("a"))),
        (
            "{ vendor_options_of = { enterprise = 9, present = true } }",
            VendorOptionsOf(9, BytesTest::Present),
        ),
        ("{ mac = \"00:04:f2\" }", Hardware([0, 4, 0xf2].into())),
        ("{ mac = \"0004f20a\" }", Hardware([0, 4, 0xf2, 10].into())),
        ("{ circuit_id = { hex = \"0a\" } }", CircuitId(exact(b"\n"))),
        ("{ circuit_id = { is = { hex = \"4a 00\" } } }", CircuitId(exact(b"J\0"))),
        ("{ remote_id = \"floor-*\" }", RemoteId(pattern("floor-*"))),
        ("{ relay = \"10.9.0.0/24\" }", Relay("10.9.0.0/24".parse().unwrap())),
        ("{ relay = \"10.9.0.1\" }", Relay("10.9.0.1/32".parse().unwrap())),
        ("{ relay = false }", not(Relay("0.0.0.0/0".parse().unwrap()))),
        ("{ scope = \"native\" }", Scope(ScopeId(1))),
        ("{ option = { code = 93, hex = \"0007\" } }", Option(93, exact(b"\0\x07"))),
        ("{ option = { code = \"host-name\", prefix = \"a\" } }", Option(12, prefix(b"a"))),
        (
            "{ mac = \"00:04:f2\", not = { scope = \"voice\" } }",
            All(vec![not(Scope(ScopeId(0))), Hardware([0, 4, 0xf2].into())]),
        ),
        (
            "{ any = [{ scope = \"voice\" }, { all = [{ scope = \"native\" }, { relay = true }] }] }",
            Any(vec![
                Scope(ScopeId(0)),
                All(vec![Scope(ScopeId(1)), Relay("0.0.0.0/0".parse().unwrap())]),
            ]),
        ),
    ];
    for (text, expected) in cases {
        let site = lab_and(&format!("[[class]]\nname = \"door\"\nmatch = {text}\n"));
        // `all` and `any` of one are the one; nesting of the same kind says the same.
        let found = flat(site.classes[0].condition.clone().expect(text));
        assert_eq!(found, expected, "{text}");
    }
}

fn flat(condition: Condition) -> Condition {
    match condition {
        Condition::All(mut all) if all.len() == 1 => flat(all.remove(0)),
        Condition::All(all) => Condition::All(all.into_iter().map(flat).collect()),
        Condition::Any(any) => Condition::Any(any.into_iter().map(flat).collect()),
        Condition::Not(condition) => not(flat(*condition)),
        other => other,
    }
}

#[test]
fn a_match_with_a_mistake_is_an_error_and_never_a_wider_match() {
    for (text, code) in [
        ("{ }", "empty-value"),
        ("{ any = [] }", "empty-value"),
        ("{ all = [{ }] }", "empty-value"),
        ("{ vendorclass = \"a\" }", "unknown-key"),
        ("{ mac = \"00:04:f2\", banana = 1 }", "unknown-key"),
        ("{ mac = \"00:04:f\" }", "bad-mac"),
        ("{ mac = \"00:04:f2:00:00:00:00\" }", "bad-mac"),
        ("{ vendor_class = 5 }", "wrong-type"),
        ("{ vendor_class = \"\" }", "empty-value"),
        ("{ vendor_class = { } }", "missing-key"),
        ("{ vendor_class = { prefx = \"a\" } }", "unknown-key"),
        ("{ polycom = { } }", "empty-value"),
        ("{ polycom = { version = 5 } }", "wrong-type"),
        ("{ vendor_class_of = { is = \"a\" } }", "missing-key"),
        ("{ vendor_class_of = { enterprise = 9 } }", "missing-key"),
        ("{ option = { code = 300, present = true } }", "out-of-range"),
        ("{ option = { code = \"hostname2\", hex = \"0\" } }", "unknown-option"),
        ("{ relay = \"10.9.0.0/33\" }", "bad-subnet"),
        ("{ relay = \"10.9.0.1/24\" }", "bad-subnet"),
        ("{ scope = \"vioce\" }", "unknown-scope"),
        ("[]", "wrong-type"),
    ] {
        let text = format!("{LAB}\n[[class]]\nname = \"door\"\nmatch = {text}\n");
        assert_eq!(codes(&text).first(), Some(&code), "{text}");
    }
}
