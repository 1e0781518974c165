//! VRRP in namespaces: with keepalived as the other router, and two of LVX.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod events;
mod matrix;
mod pair;
mod traffic;
mod virtual_mac;
mod witness;
