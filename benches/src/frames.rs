//! Frames that the harness sends through the program under test.

/// Length of every frame, as the harness program expects it.
pub(crate) const FRAME: usize = 80;

/// TCP flags.
pub(crate) const SYN: u8 = 0x02;
/// TCP flags.
pub(crate) const ACK: u8 = 0x10;

/// Address family and transport of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Whether the packet is IPv4.
    pub(crate) ipv4: bool,
    /// Whether it is TCP (else UDP).
    pub(crate) tcp: bool,
}

impl Kind {
    /// Offset of the last four bytes of the source address.
    pub(crate) fn source_at(self) -> u32 {
        if self.ipv4 { 26 } else { 34 }
    }

    /// Offset of the transport header.
    pub(crate) fn transport(self) -> u32 {
        if self.ipv4 { 34 } else { 54 }
    }

    /// Offset of the IP protocol number.
    pub(crate) fn protocol_at(self) -> usize {
        if self.ipv4 { 23 } else { 20 }
    }

    /// IP protocol number.
    pub(crate) fn protocol(self) -> u8 {
        if self.tcp { 6 } else { 17 }
    }
}

/// Builds a frame; addresses are IPv6 or the last four bytes of IPv4-mapped ones. Checksums are not filled in: they
/// are mended by difference and nobody receives the frames.
pub(crate) fn build(
    kind: Kind,
    source: [u8; 16],
    destination: [u8; 16],
    ports: (u16, u16),
    flags: u8,
) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    let length = FRAME - 14;
    if kind.ipv4 {
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&(length as u16).to_be_bytes());
        frame[22] = 64;
        frame[kind.protocol_at()] = kind.protocol();
        frame[26..30].copy_from_slice(&source[12..]);
        frame[30..34].copy_from_slice(&destination[12..]);
    } else {
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14] = 0x60;
        frame[18..20].copy_from_slice(&((length - 40) as u16).to_be_bytes());
        frame[kind.protocol_at()] = kind.protocol();
        frame[21] = 64;
        frame[22..38].copy_from_slice(&source);
        frame[38..54].copy_from_slice(&destination);
    }
    let at = kind.transport() as usize;
    frame[at..at + 2].copy_from_slice(&ports.0.to_be_bytes());
    frame[at + 2..at + 4].copy_from_slice(&ports.1.to_be_bytes());
    if kind.tcp {
        frame[at + 12] = 0x50;
        frame[at + 13] = flags;
    } else {
        let udp = if kind.ipv4 { length - 20 } else { length - 40 };
        frame[at + 4..at + 6].copy_from_slice(&(udp as u16).to_be_bytes());
    }
    frame
}
