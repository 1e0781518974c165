//! A host that asks all the time who has an address, and remembers every answer.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lab::Namespace;
use socket2::{Domain, Socket, Type};

/// From one question to the next.
const INTERVAL: Duration = Duration::from_millis(10);
/// Questions in a row that two hosts may answer at a handover; a busy machine takes its time to read an advertisement.
const MOST_SHARED: usize = 5;
/// Longest time that the witness looks on.
const LONGEST: Duration = Duration::from_secs(120);
const ETHERTYPE_ARP: u16 = 0x0806;

type Mac = [u8; 6];

/// Asks by ARP in the background until it is dropped or read.
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Vec<Mac>>>>,
}

impl Witness {
    pub(crate) fn start(namespace: &Namespace, target: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, namespace) = (Arc::clone(&stop), namespace.clone());
        let target: Ipv4Addr = target.parse().unwrap();
        let thread = std::thread::spawn(move || {
            namespace.enter(|| watch("eth0", target, &stopped)).unwrap().expect("the witness asks")
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it. For each question who answered.
    pub(crate) fn answers(mut self) -> Vec<Vec<Mac>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }

    /// Ends it and asserts that the address always has one owner; gives how many questions were answered.
    ///
    /// A router that preempts has the address as soon as its advertisement is out, and the other gives it up as soon as it
    /// has read it: for that moment both answer, since a moment with none would lose packets.
    pub(crate) fn assert_one_owner(self) -> usize {
        let answers = self.answers();
        for (number, pair) in answers.windows(MOST_SHARED + 1).enumerate() {
            let shared = pair.iter().all(|macs| macs.len() > 1);
            assert!(!shared, "questions from {number} on were answered by two: {pair:02x?}");
        }
        answers.iter().filter(|macs| !macs.is_empty()).count()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(interface: &str, target: Ipv4Addr, stopped: &AtomicBool) -> io::Result<Vec<Vec<Mac>>> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: the name is NUL-terminated and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) }.cast_signed();
    let protocol = i32::from(ETHERTYPE_ARP.to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol.into()))?;
    // SAFETY: all-zero bytes are a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETHERTYPE_ARP.to_be();
    address.sll_ifindex = index;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is valid for its length and only read.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let question = question(target);
    let mut answers = Vec::new();
    let started = Instant::now();
    let mut next = started;
    while !stopped.load(Ordering::Relaxed) && started.elapsed() < LONGEST {
        socket.send(&question)?;
        next += INTERVAL;
        let mut macs: Vec<Mac> = Vec::new();
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
            let mut buffer = [0u8; 64];
            // SAFETY: the buffer is valid for its length.
            let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            if got < 42 || buffer[20..22] != [0, 2] || buffer[28..32] != target.octets() {
                continue;
            }
            let mac: Mac = buffer[22..28].try_into().unwrap();
            if !macs.contains(&mac) {
                macs.push(mac);
            }
        }
        answers.push(macs);
    }
    Ok(answers)
}

/// Who has it? Asked from nowhere (RFC 5227, a probe), so that nobody learns the witness's address from it.
fn question(target: Ipv4Addr) -> Vec<u8> {
    let own = [0x02, 0, 0, 0, 0, 0x77];
    let mut frame = vec![0xff; 6];
    frame.extend(own);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(own);
    frame.extend([0; 4]);
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}
