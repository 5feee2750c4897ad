//! What each phone was given, against what the guide requires: as a table and as JSON.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use offhook_sim::{Acknowledged, Level, Link, Mode, Outcome, Phone, Report, Step, Subject};
use serde_json::{Value, json};

/// The options of the guide's table; 4 or 42 is one row there.
const COLUMNS: [(&str, &[u8]); 10] = [
    ("1", &[1]),
    ("2", &[2]),
    ("3", &[3]),
    ("4/42", &[4, 42]),
    ("6", &[6]),
    ("15", &[15]),
    ("66", &[66]),
    ("67", &[67]),
    ("132", &[132]),
    ("160", &[160]),
];

const GIVEN: &str = "✓";
const WITHHELD: &str = "–";
const WRONG: &str = "✗";

/// A phone that was booted, and what it is worth.
#[derive(Debug)]
pub(super) struct Boot {
    /// The phone at its end.
    pub(super) phone: Phone,
    /// What it was given against the guide.
    pub(super) report: Report,
}

impl Boot {
    /// Whether all was as the guide has it, the optional included: the sample site has everything.
    pub(super) fn passed(&self) -> bool {
        self.report.passes(Level::May)
    }

    fn mode(&self) -> &'static str {
        match self.phone.mode() {
            Mode::Normal(_) => "normal",
            Mode::Recovery => "recovery",
            Mode::Inform { .. } => "inform",
        }
    }

    /// Links in the order in which the phone had addresses there.
    fn links(&self) -> Vec<Link> {
        let mut links: Vec<_> = self.phone.record().leases.iter().map(|lease| lease.link).collect();
        links.dedup();
        links
    }

    fn steps(&self, link: Link, what: impl Fn(Subject) -> bool) -> impl Iterator<Item = &Step> {
        let leases = &self.phone.record().leases;
        self.report.steps.iter().filter(move |step| {
            let lease = step.lease.and_then(|index| leases.get(index));
            lease.is_some_and(|lease| lease.link == link) && what(step.subject)
        })
    }

    /// How an option was: given as required, withheld as required, wrong, or not asked for.
    fn option(&self, link: Link, codes: &[u8]) -> &'static str {
        let about = |subject| match subject {
            Subject::Given(code) | Subject::Withheld(code) => codes.contains(&code),
            _ => false,
        };
        let mut cell = "";
        for step in self.steps(link, about) {
            cell = match (step.outcome, step.subject) {
                (Outcome::Fail, _) => return WRONG,
                (Outcome::Pass, Subject::Given(_)) => GIVEN,
                (Outcome::Pass, _) => WITHHELD,
            };
        }
        cell
    }

    fn dns(&self) -> String {
        let steps = self.report.steps.iter().filter(|step| step.subject == Subject::Dns);
        let (mut passed, mut all) = (0, 0);
        for step in steps {
            all += 1;
            passed += usize::from(step.outcome == Outcome::Pass);
        }
        match all {
            0 => String::new(),
            _ if passed == all => format!("{GIVEN} {passed}"),
            _ => format!("{WRONG} {passed} of {all}"),
        }
    }

    fn tftp(&self) -> String {
        let mut steps = self.report.steps.iter().filter(|step| step.subject == Subject::Tftp);
        let fetched = self.phone.record().firmware.as_ref();
        match (steps.next(), fetched.map(|fetched| &fetched.result)) {
            (None, _) => String::new(),
            (Some(step), Some(Ok(came))) if step.outcome == Outcome::Pass => {
                format!("{GIVEN} {} bytes", came.length())
            }
            _ => WRONG.to_owned(),
        }
    }
}

/// The table, a legend, what failed in detail, and a summary line.
pub(super) fn text(boots: &[Boot]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let head = ["phone", "mode", "VLAN", "address"].map(str::to_owned);
    let options = COLUMNS.map(|(title, _)| title.to_owned());
    let tail = ["DNS", "TFTP", "verdict"].map(str::to_owned);
    table.set_header(head.into_iter().chain(options).chain(tail));
    for boot in boots {
        for row in rows(boot) {
            table.add_row(row);
        }
    }
    for column in 4..14 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Center);
        }
    }
    let mut text = format!(
        "{table}\n{GIVEN} given as required   {WITHHELD} not given, as required   {WRONG} not as required   \
         blank: not required, or not asked for\n"
    );
    for boot in boots {
        for step in boot.report.failures() {
            let Step { name, level, detail, .. } = step;
            let family = boot.phone.family().name;
            text += &format!("\n{WRONG} {family}, {}: {level} {name}: {detail}", boot.mode());
        }
    }
    if boots.iter().any(|boot| !boot.passed()) {
        text += "\n";
    }
    let passed = boots.iter().filter(|boot| boot.passed()).count();
    let steps: usize = boots.iter().map(|boot| boot.report.steps.len()).sum();
    text + &format!(
        "\n{passed} of {} phones booted as the guide requires ({steps} checks)\n",
        boots.len()
    )
}

/// One row for each VLAN the phone was in.
fn rows(boot: &Boot) -> Vec<Vec<String>> {
    let name = boot.phone.family().name.to_owned();
    let verdict = if boot.passed() { "pass" } else { "FAIL" };
    let links = boot.links();
    let last = links.len().saturating_sub(1);
    let row = |place: usize, link: Option<Link>| {
        let first = |text: &str| if place == 0 { text.to_owned() } else { String::new() };
        let end = |text: String| if place == last { text } else { String::new() };
        let address = link
            .and_then(|link| boot.phone.record().lease(link))
            .map(|lease| lease.address.to_string());
        let mut cells = vec![
            first(&name),
            first(boot.mode()),
            link.map(|link| link.to_string()).unwrap_or_default(),
            address.unwrap_or_default(),
        ];
        cells.extend(COLUMNS.map(|(_, codes)| {
            link.map(|link| boot.option(link, codes)).unwrap_or_default().to_owned()
        }));
        cells.extend([end(boot.dns()), end(boot.tftp()), end(verdict.to_owned())]);
        cells
    };
    if links.is_empty() {
        return vec![row(0, None)];
    }
    links.iter().enumerate().map(|(place, link)| row(place, Some(*link))).collect()
}

/// The same for programs: every phone with every lease and every step.
pub(super) fn json(boots: &[Boot]) -> Value {
    let phones: Vec<_> = boots.iter().map(phone).collect();
    let passed = boots.iter().filter(|boot| boot.passed()).count();
    json!({ "phones": phones, "passed": passed, "failed": boots.len() - passed })
}

fn phone(boot: &Boot) -> Value {
    let record = boot.phone.record();
    let steps: Vec<_> = boot.report.steps.iter().map(step).collect();
    let firmware = record.firmware.as_ref().map(|fetched| {
        let bytes = fetched.result.as_ref().ok().map(|came| came.length());
        json!({
            "server": fetched.server.ip().to_string(),
            "file": fetched.file,
            "bytes": bytes,
        })
    });
    json!({
        "family": boot.phone.family().name,
        "label": boot.phone.family().label,
        "mac": boot.phone.mac().to_string(),
        "mode": boot.mode(),
        "passed": boot.passed(),
        "milliseconds": record.elapsed.as_millis() as u64,
        "retransmissions": record.retransmissions,
        "leases": record.leases.iter().map(lease).collect::<Vec<_>>(),
        "firmware": firmware,
        "steps": steps,
    })
}

fn lease(lease: &Acknowledged) -> Value {
    let options = lease.options();
    let given: serde_json::Map<_, _> =
        options.codes().map(|code| (code.to_string(), options.display(code).into())).collect();
    json!({
        "link": lease.link.to_string(),
        "address": lease.address.to_string(),
        "options": given,
    })
}

fn step(step: &Step) -> Value {
    json!({
        "lease": step.lease,
        "name": step.name,
        "level": step.level.to_string(),
        "outcome": step.outcome.to_string(),
        "detail": step.detail,
    })
}
