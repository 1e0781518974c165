//! TCP states of a connection entry, as IPVS keeps them (net/netfilter/ipvs/ip_vs_proto_tcp.c).
//!
//! A director with direct routing or tunnels sees the client's packets only and has a table of its own for that.

/// A connection entry's state; the numbers are IPVS's, which its sync protocol uses.
pub type State = u8;

/// No connection.
pub const NONE: State = 0;
/// Both sides talk.
pub const ESTABLISHED: State = 1;
/// The server began.
pub const SYN_SENT: State = 2;
/// The client's SYN was seen.
pub const SYN_RECV: State = 3;
/// One side has finished.
pub const FIN_WAIT: State = 4;
/// Both sides have finished.
pub const TIME_WAIT: State = 5;
/// Reset, or out of sense.
pub const CLOSE: State = 6;
/// The client has finished, the server has not.
pub const CLOSE_WAIT: State = 7;
/// Waiting for the last acknowledgement.
pub const LAST_ACK: State = 8;
/// Passive open.
pub const LISTEN: State = 9;
/// Simultaneous open.
pub const SYNACK: State = 10;
/// A UDP flow; it has no states.
pub const UDP_FLOW: State = 11;

/// Which packets a director sees, and from whom this one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client, and replies are seen as well (NAT).
    Input,
    /// From the real server.
    Output,
    /// From the client, and replies bypass the director (direct routing, tunnel).
    InputOnly,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Packs the next states for the states 0 to 10 into one word, four bits each.
const fn row(next: [State; 11]) -> u64 {
    let mut packed = 0;
    let mut state = 0;
    while state < 11 {
        packed |= (next[state] as u64) << (state * 4);
        state += 1;
    }
    packed
}

const NO: State = NONE;
const ES: State = ESTABLISHED;
const SS: State = SYN_SENT;
const SR: State = SYN_RECV;
const FW: State = FIN_WAIT;
const TW: State = TIME_WAIT;
const CL: State = CLOSE;
const CW: State = CLOSE_WAIT;
const LA: State = LAST_ACK;
const LI: State = LISTEN;

// Columns: NONE ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN SYNACK.
// Verified against recordings of a real director: lb-common/tests/tcp_state.rs.
const IN_SYN: u64 = row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR]);
const IN_FIN: u64 = row([CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW]);
const IN_ACK: u64 = row([ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES]);
const IN_RST: u64 = row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR]);
const OUT_SYN: u64 = row([SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR]);
const OUT_FIN: u64 = row([TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW]);
const OUT_ACK: u64 = row([ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES]);
const OUT_RST: u64 = row([CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL]);
const ONLY_FIN: u64 = row([CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW]);
const ONLY_RST: u64 = row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL]);
const NO_FLAGS: u64 = row([NO, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL]);

/// The state after a packet with these TCP flags; RST counts before SYN, SYN before FIN, FIN before ACK.
#[inline(always)]
#[must_use]
pub const fn next(state: State, direction: Direction, flags: u8) -> State {
    let transitions = if flags & RST != 0 {
        match direction {
            Direction::Input => IN_RST,
            Direction::Output => OUT_RST,
            Direction::InputOnly => ONLY_RST,
        }
    } else if flags & SYN != 0 {
        match direction {
            Direction::Output => OUT_SYN,
            _ => IN_SYN,
        }
    } else if flags & FIN != 0 {
        match direction {
            Direction::Input => IN_FIN,
            Direction::Output => OUT_FIN,
            Direction::InputOnly => ONLY_FIN,
        }
    } else if flags & ACK != 0 {
        match direction {
            Direction::Output => OUT_ACK,
            _ => IN_ACK,
        }
    } else {
        NO_FLAGS
    };
    ((transitions >> ((state & 0x0f) as u32 * 4)) & 0x0f) as State
}

/// Whether a connection in this state counts as active (as opposed to inactive).
#[inline(always)]
#[must_use]
pub const fn is_active(state: State) -> bool {
    matches!(state, ESTABLISHED | SYN_SENT | SYN_RECV | SYNACK)
}

/// Whether a SYN from the client ends such a connection and begins a new one.
///
/// IPVS reuses the entry and its real server in some of these states and depends on `conn_reuse_mode` in others; a
/// fresh choice never sends a new connection to a server that may be gone.
#[inline(always)]
#[must_use]
pub const fn is_closing(state: State) -> bool {
    matches!(state, FIN_WAIT | TIME_WAIT | CLOSE | CLOSE_WAIT | LAST_ACK)
}

/// Name in `ipvsadm -Lnc`.
#[must_use]
pub const fn name(state: State) -> &'static str {
    match state {
        ESTABLISHED => "ESTABLISHED",
        SYN_SENT => "SYN_SENT",
        SYN_RECV => "SYN_RECV",
        FIN_WAIT => "FIN_WAIT",
        TIME_WAIT => "TIME_WAIT",
        CLOSE => "CLOSE",
        CLOSE_WAIT => "CLOSE_WAIT",
        LAST_ACK => "LAST_ACK",
        LISTEN => "LISTEN",
        SYNACK => "SYNACK",
        UDP_FLOW => "UDP",
        _ => "NONE",
    }
}
