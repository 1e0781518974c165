//! The demonstration: real traffic through LVX between network namespaces.

use anyhow::{Result, bail};

/// Runs the demonstration; with `keep`, the lab stays afterwards.
pub(crate) fn run(_keep: bool) -> Result<()> {
    bail!("the demo is not there yet")
}
