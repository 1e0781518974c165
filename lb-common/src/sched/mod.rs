//! Schedulers: tables that userspace computes and the kernel indexes, and picks over live counters.

pub mod maglev;
