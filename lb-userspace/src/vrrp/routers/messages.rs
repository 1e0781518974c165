//! Which instance a message is for, and what becomes of it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use super::super::{Advertisement, Expected, Received, Reject};
use super::{Output, Routers};
use crate::model::Instance;

impl Routers {
    /// A message that arrived on an interface. What is wrong with it is counted.
    pub fn handle_message(
        &mut self,
        interface: &str,
        received: &Received<'_>,
        now: Instant,
        clock: SystemTime,
    ) {
        let Some(vrid) = received.message.get(1) else { return self.stray(Reject::Short) };
        let ipv4 = received.source.is_ipv4();
        let found = self.members.iter().enumerate().find_map(|(index, member)| {
            let instance = &member.instance;
            let same = instance.router.vrid == *vrid && instance.is_ipv4() == ipv4;
            let peers = path(instance, interface, received).filter(|_| same)?;
            Some((index, peers.map(<[IpAddr]>::to_vec)))
        });
        let Some((index, peers)) = found else { return self.stray(Reject::Vrid) };
        let own = self.own_address(index, interface);
        let member = &mut self.members[index];
        let expected = Expected {
            version: member.instance.router.version,
            vrid: *vrid,
            interval: member.instance.router.interval,
            authentication: member.instance.authentication,
            checksum: None,
            peers,
        };
        let opened = match &mut member.hmac {
            Some((_, verifier)) => match verifier.open(received, clock) {
                Ok(opened) => opened,
                Err(reject) => return member.rejected(reject),
            },
            None => Cow::Borrowed(received.message),
        };
        let received = &Received { message: &opened, ..*received };
        let advertisement = match Advertisement::decode(received, &expected) {
            Ok(_) if own == Some(received.source) => return member.rejected(Reject::OwnAddress),
            Ok(advertisement) => advertisement,
            Err(reject) => return member.rejected(reject),
        };
        let Some(own) = own else { return };
        let heard = self.with(index, now, clock, |router, _| {
            router.handle_advertisement(&advertisement, received.source, own, now)
        });
        let member = &mut self.members[index];
        match heard {
            Ok(()) => {
                let known = member.has_rival(now);
                member.heard(&advertisement, received.source, interface, now);
                if !known && member.has_rival(now) {
                    let (source, priority) = (received.source, advertisement.priority);
                    self.outputs.push_back(Output::Rival { member: index, source, priority });
                }
            }
            Err(reject) => member.rejected(reject),
        }
    }

    fn stray(&mut self, reject: Reject) {
        *self.strays.entry(reject.name()).or_default() += 1;
    }
}

/// The peers of the path by which a message came: outer none where it is none of the instance's paths, inner none for
/// multicast.
fn path<'a>(
    instance: &'a Instance,
    interface: &str,
    received: &Received<'_>,
) -> Option<Option<&'a [IpAddr]>> {
    let main = (&instance.interface, &instance.peers);
    let others = instance.heartbeats.iter().map(|heartbeat| (&heartbeat.interface, &heartbeat.peers));
    let here = std::iter::once(main).chain(others).filter(|(name, _)| *name == interface);
    fn unicast(peers: &[IpAddr]) -> Option<&[IpAddr]> {
        (!peers.is_empty()).then_some(peers)
    }
    // Of several on one interface, the one that the message was sent for.
    let mut last = None;
    for (_, peers) in here {
        if peers.is_empty() == received.destination.is_multicast() {
            return Some(unicast(peers));
        }
        last = Some(unicast(peers));
    }
    last
}
