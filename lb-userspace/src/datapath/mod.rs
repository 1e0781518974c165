//! The running datapath: the loaded XDP program, its maps, its attachment to interfaces.

mod attach;
pub(crate) mod clock;
mod decapsulator;
mod mapped;
mod object;
mod refusal;
mod tables;

pub use attach::{AttachError, Attachment};
pub use decapsulator::Decapsulator;
pub use mapped::MappedArray;
pub use object::{Datapath, LoadError, Sizes};
pub use refusal::MAX_REFUSED_ADDRESSES;
pub use tables::MappedTables;
