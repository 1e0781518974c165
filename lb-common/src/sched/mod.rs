//! Schedulers: which real server takes a new connection.
//!
//! *Table schedulers* (rr, wrr, sh, mh) are computed here in userspace as an array of real server ids ([`table`]); the
//! datapath indexes that array with a counter or with a hash ([`pick`]). *Load schedulers* (lc, wlc) look at live
//! connection counts and are folded over the real servers for every new connection ([`pick::Best`]).
//!
//! The order of picks is that of IPVS, and `tests/golden` holds recordings of it.

pub mod maglev;
pub mod pick;
#[cfg(feature = "alloc")]
pub mod table;
