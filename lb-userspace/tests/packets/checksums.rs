//! Judging the checksums of frames, by `etherparse`.

use etherparse::checksum::Sum16BitWords;
use etherparse::{NetSlice, SlicedPacket};

/// Whether every checksum of the frame, inside a tunnel as well, is right by `etherparse`'s reckoning; an absent UDP
/// checksum over IPv4 is. Errors say what is wrong.
pub(crate) fn check_checksums(frame: &[u8]) -> Result<(), String> {
    let parsed = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
    check_layers(&parsed)
}

fn check_layers(parsed: &SlicedPacket<'_>) -> Result<(), String> {
    let (pseudo, payload) = match parsed.net.as_ref().ok_or("no IP header")? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            if header.header_checksum != header.calc_header_checksum() {
                return Err(format!("IPv4 checksum {:#06x}", header.header_checksum));
            }
            let sum = Sum16BitWords::new().add_4bytes(header.source).add_4bytes(header.destination);
            (sum, ip.payload())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let sum = Sum16BitWords::new().add_16bytes(header.source).add_16bytes(header.destination);
            (sum, ip.payload())
        }
        NetSlice::Arp(_) => return Err("ARP".to_owned()),
    };
    let number = payload.ip_number.0;
    let bytes = payload.payload;
    match number {
        4 | 41 => {
            let inner = SlicedPacket::from_ip(bytes).map_err(|error| error.to_string())?;
            return check_layers(&inner);
        }
        17 if bytes.get(6..8) == Some(&[0, 0]) => return Ok(()),
        6 | 17 => {}
        _ => return Err(format!("protocol {number}")),
    }
    let sum = pseudo
        .add_2bytes([0, number])
        .add_2bytes((bytes.len() as u16).to_be_bytes())
        .add_slice(bytes)
        .ones_complement();
    if sum == 0 { Ok(()) } else { Err(format!("transport checksum of protocol {number}")) }
}
