//! Cases of virtual routers: the language, the messages of its inputs, the player.

mod language;
mod message;
mod player;

pub(crate) use language::Case;
pub(crate) use player::Player;

/// A line of a case, and what is wrong with it.
pub(crate) type Wrong = (usize, String);
