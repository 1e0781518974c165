//! The table of next hops in virtual time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it is")]

mod neighbours;
mod routes;
mod world;
