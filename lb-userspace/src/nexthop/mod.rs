//! Next hops: with which interface and which addresses a frame for a real server leaves the director.
//!
//! Frames that XDP forwards never pass the kernel's routing and neighbour code, so nothing in the kernel keeps the
//! entries they depend on alive. This module asks the kernel for the route to each real server, follows links,
//! addresses, routes and neighbours through netlink, and has neighbours probed before their entries go stale.
//!
//! [`Table`] decides and does no I/O (time comes in as an argument, actions go out as values); [`Watcher`] is the
//! tokio task that connects it with rtnetlink(7).

pub(crate) mod decode;
mod kernel;
mod neighbours;
mod netlink;
mod probing;
mod requery;
mod resolution;
mod settings;
mod table;
mod watch;

pub use kernel::{
    Address, Dump, Event, Link, LinkKind, Neighbour, NeighbourKey, NeighbourState, Prefix, RouteAnswer,
    RouteError,
};
pub use resolution::{NextHop, Reason, Resolution, Vlan};
pub use settings::Settings;
pub use table::{Action, Table};
pub use watch::{Changes, Handle, WatchError, Watcher};
