//! `[dhcp]`.

use offhook_model::Dhcp;

use super::tftp::dscp;
use crate::tree::{Table, Value};

/// What the table says, and the defaults for the rest.
pub(crate) fn read(table: Option<Table<'_>>) -> Dhcp {
    let default = Dhcp::default();
    let Some(table) = table else { return default };
    let rate = |key, default| {
        let rate = table.field(key, |value| value.integer::<u32>(0, 1_000_000));
        rate.into_value().unwrap_or(default)
    };
    let decline_hold = table.field("decline_hold", |value| value.duration(1, 366 * 86_400));
    let offer_hold = table.field("offer_hold", |value| value.duration(1, 3600));
    let subnet_selection = table.field("subnet_selection", Value::boolean);
    // A client gives up, or takes another server, long before ten seconds are over.
    let probe_wait = table.field("probe_wait", |value| value.millis(10, 10_000));
    let dscp = table.field("dscp", dscp);
    let dhcp = Dhcp {
        decline_hold: decline_hold.into_value().unwrap_or(default.decline_hold),
        offer_hold: offer_hold.into_value().unwrap_or(default.offer_hold),
        subnet_selection: subnet_selection.into_value().unwrap_or(default.subnet_selection),
        probe_wait: probe_wait.into_value().unwrap_or(default.probe_wait),
        client_rate: rate("client_rate", default.client_rate),
        circuit_rate: rate("circuit_rate", default.circuit_rate),
        dscp: dscp.into_value().unwrap_or(default.dscp),
    };
    table.finish();
    dhcp
}
