//! rtnetlink(7) for threads of their own: requests, dumps and events without an event loop.
//!
//! Every function works in the network namespace of the calling thread; a socket stays in the one where it was opened.

mod address;
mod inventory;
mod link;
mod subscription;

use std::io;

use bytes::BytesMut;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

pub use address::{add_address, remove_address};
pub use inventory::Inventory;
pub use link::{make_macvlan, remove_link, set_up};
pub use subscription::Subscription;

use crate::nexthop::Event;
use crate::nexthop::decode::{inner_event, messages};

/// Larger than any datagram that the kernel builds.
const DATAGRAM: usize = 256 * 1024;

/// Dumps that raced with changes are repeated this often before one is taken as it is; events mend the rest.
const DUMP_ATTEMPTS: usize = 8;

fn dump(question: &RouteNetlinkMessage) -> io::Result<Vec<Event>> {
    let socket = open()?;
    let mut events = Vec::new();
    for sequence in 1..=DUMP_ATTEMPTS as u32 {
        socket.send(&encode(question.clone(), NLM_F_DUMP, sequence), 0)?;
        events.clear();
        if collect(&socket, sequence, &mut events)? {
            break;
        }
    }
    Ok(events)
}

/// Reads one dump; false where changes interrupted it.
fn collect(socket: &Socket, sequence: u32, events: &mut Vec<Event>) -> io::Result<bool> {
    let mut whole = true;
    let mut buffer = BytesMut::with_capacity(DATAGRAM);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        for message in messages(&buffer) {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else { continue };
            if message.header.sequence_number != sequence {
                continue;
            }
            whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => events.extend(inner_event(inner)),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => return Ok(whole),
            }
        }
    }
}

/// Sends one request and waits for its acknowledgement.
///
/// # Errors
///
/// The kernel's, where it refuses.
pub fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let socket = open()?;
    socket.send(&encode(message, NLM_F_ACK | flags, 1), 0)?;
    let mut answer = BytesMut::with_capacity(64 * 1024);
    socket.recv(&mut answer, 0)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        NetlinkPayload::Error(_) => Ok(()),
        _ => Err(io::Error::other("an answer of netlink that was not asked for")),
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// The request as it goes to the kernel.
pub(crate) fn encode(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
