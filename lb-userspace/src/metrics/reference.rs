//! `docs/metrics.md`, generated from the declarations.

use std::fmt::Write;

use super::family::Kind;

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from the declarations in lb-userspace/src/metrics; LVX_BLESS=1 cargo test -p lb-userspace rewrites it. -->

`lvx run` serves these metrics at `/metrics` on the address of the configuration (loopback by default) in Prometheus's
text format. Counters start at 0 with the daemon. Every reason, event and table is present from the start, so that an
alert on a rate sees the first increase.

Labels: `service` is the name in the configuration, `address` its virtual address and port, `protocol` is `tcp` or `udp`,
`real_server` the real server's address and port, `direction` is `in` (from clients) or `out` (replies that pass through
the director, NAT only).

The `node_ipvs_*` series carry the names and labels of node_exporter's `ipvs` collector, for dashboards and alerts made
for IPVS; `local_mark` is always empty.
";

/// The text of `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = format!("{INTRODUCTION}\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in super::all() {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help);
    }
    text
}
