//! From the model to the maps: what is installed, what has to change, and in which order.
//!
//! [`plan`] is pure; [`execute`] carries its operations out. The order makes every prefix safe: a real server is
//! written before a table names it, a table before a service uses it, a service before a key leads to it; removal goes
//! the other way round. Nothing is given to another use before no packet and no connection entry can refer to it.

mod allocation;
mod built;
mod execute;
mod installed;
mod plan;

pub use allocation::{Numbers, Ranges};
pub use execute::{ApplyError, execute};
pub use installed::{Installed, InstalledServer, InstalledService, TableRange};
pub use plan::{Operation, Plan, PlanError, plan, server_fields};
