//! The command line as an administrator meets it: what is printed where, and the exit code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn offhook(arguments: &[&str]) -> Output {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_offhook"))
        .args(arguments)
        .current_dir(repository)
        .env("COLUMNS", "100")
        .env_remove("OFFHOOK_LOG")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_help_text_is_as_it_was_agreed() {
    insta::assert_snapshot!("help", stdout(&offhook(&["--help"])));
    for command in ["run", "check", "demo", "families", "firmware", "leases", "status"] {
        insta::assert_snapshot!(format!("help-{command}"), stdout(&offhook(&[command, "--help"])));
    }
    insta::assert_snapshot!(
        "help-firmware-list",
        stdout(&offhook(&["firmware", "list", "--help"]))
    );
    for command in ["release", "reserve"] {
        let help = stdout(&offhook(&["leases", command, "--help"]));
        insta::assert_snapshot!(format!("help-leases-{command}"), help);
    }
}

#[test]
fn the_sample_site_as_committed_could_run() {
    let check = offhook(&["check", "--config", "config/lab.toml"]);
    assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));
    insta::assert_snapshot!("lab", stdout(&check));
    assert!(stderr(&check).contains("site lab (lab.voip) can run"), "{}", stderr(&check));
}

#[test]
fn ten_mistakes_are_ten_diagnostics_as_text_and_as_json_and_exit_with_78() {
    let file = "crates/offhook-config/tests/ten-mistakes.toml";
    let text = offhook(&["check", "--config", file]);
    assert_eq!(text.status.code(), Some(78));
    assert_eq!(stdout(&text).lines().filter(|line| line.starts_with("error[")).count(), 10);
    let json = offhook(&["check", "--config", file, "--format", "json"]);
    assert_eq!(json.status.code(), Some(78));
    let diagnostics: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let diagnostics = diagnostics.as_array().unwrap();
    assert_eq!(diagnostics.len(), 10);
    for diagnostic in diagnostics {
        for key in ["code", "severity", "file", "message", "hint"] {
            assert!(diagnostic[key].is_string(), "no {key} in {diagnostic}");
        }
        assert!(diagnostic["line"].is_u64() && diagnostic["column"].is_u64(), "{diagnostic}");
    }
}

#[test]
fn a_file_that_is_not_there_is_a_diagnostic_like_any_other() {
    for command in ["check", "run"] {
        let output = offhook(&[command, "--config", "config/no-such-file.toml"]);
        assert_eq!(output.status.code(), Some(78), "{command}");
        let said = stdout(&output) + &stderr(&output);
        assert!(said.contains("unreadable-file") && said.contains("no-such-file.toml"), "{said}");
    }
}

#[test]
fn a_server_that_is_not_there_is_said_not_to_be_with_a_hint() {
    for words in [&["leases"][..], &["leases", "reserve", "10.0.0.1"], &["status"]] {
        let output = offhook(&[words, &["--state", "config/no-such-directory"]].concat());
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert_eq!(stdout(&output), "", "{words:?}");
        let said = stderr(&output);
        assert!(said.starts_with("error: no offhook runs in config/no-such-directory"), "{said}");
        assert!(said.contains("\n\nhint: "), "{said}");
    }
    let both = offhook(&["leases", "--all", "release", "10.0.0.1"]);
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
}

#[test]
fn every_committed_configuration_could_run() {
    for file in ["config/lab.toml", "config/offhook.toml", "config/offhook.reference.toml"] {
        let check = offhook(&["check", "--config", file]);
        assert_eq!(check.status.code(), Some(0), "{file}: {}", stdout(&check));
    }
}

#[test]
fn the_catalogue_names_every_model_of_the_guide() {
    let families = stdout(&offhook(&["families"]));
    for file in ["sip100", "sip200", "405", "405hd", "420hd", "430hd", "440hd"] {
        assert!(families.contains(&format!("\"{file}.img\"")), "{file}");
    }
}
