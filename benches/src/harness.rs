//! The harness program, and how its cost is taken out.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::xdp::XdpMode;
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};

use crate::frames::FRAME;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("BENCH_BPF_OBJECT"));

/// Words of the harness program's `Plan`.
const WORDS: usize = 13;

/// What one sample sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The frame.
    pub(crate) template: [u8; FRAME],
    /// Number of flows, a power of two.
    pub(crate) flows: u32,
    /// Number of the first iteration; flows are visited in an order of their own.
    pub(crate) counter: u32,
    /// Offset of the four address bytes that tell flows apart.
    pub(crate) address_at: u32,
    /// Offset of the port that tells flows apart.
    pub(crate) port_at: u32,
    /// First value of those address bytes.
    pub(crate) first_address: u32,
}

impl Plan {
    fn words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(self.template.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        words[10] = u64::from(self.flows - 1) | (u64::from(self.counter) << 32);
        words[11] = u64::from(self.address_at) | (u64::from(self.port_at) << 32);
        words[12] = u64::from(self.first_address);
        words
    }
}

/// What a sample gave.
pub(crate) struct Sample {
    /// CPU time of the calling thread, the call's fixed cost not yet taken off.
    pub(crate) time: Duration,
    /// XDP action of the last iteration.
    pub(crate) action: u32,
    /// The frame after the last iteration.
    pub(crate) output: Vec<u8>,
}

/// The loaded harness program.
pub(crate) struct Harness {
    ebpf: Ebpf,
    plan: Array<MapData, [u64; WORDS]>,
    under_test: ProgramArray<MapData>,
}

impl Harness {
    /// Loads the programs and attaches the harness to `lo` of the current network namespace: a program that is attached
    /// nowhere costs 16 ms per call.
    pub(crate) fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(OBJECT)?;
        for name in ["bench_harness", "bench_tx", "bench_swap"] {
            program(&mut ebpf, name)?.load().with_context(|| format!("the kernel refused {name}"))?;
        }
        program(&mut ebpf, "bench_harness")?.attach_to_if_index(1, XdpMode::Skb)?;
        let plan = Array::try_from(ebpf.take_map("plan").context("map plan")?)?;
        let under_test = ProgramArray::try_from(ebpf.take_map("under_test").context("map under_test")?)?;
        Ok(Self { ebpf, plan, under_test })
    }

    /// File descriptor of one of the stub programs.
    pub(crate) fn stub(&mut self, name: &str) -> Result<ProgramFd> {
        Ok(program(&mut self.ebpf, name)?.fd()?.try_clone()?)
    }

    /// Runs `iterations` of a plan through a program.
    pub(crate) fn run(&mut self, target: &ProgramFd, plan: &Plan, iterations: u32) -> Result<Sample> {
        let _ = target.as_fd();
        self.under_test.set(0, target, 0)?;
        self.plan.set(0, plan.words(), 0)?;
        let mut output = vec![0; 256];
        let harness = program(&mut self.ebpf, "bench_harness")?;
        let before = thread_time();
        let result = harness.test_run(TestRunOptions {
            data_in: Some(&plan.template),
            data_out: Some(&mut output),
            repeat: iterations,
            ..TestRunOptions::default()
        })?;
        let time = thread_time() - before;
        output.truncate(result.data_size_out as usize);
        ensure!(result.return_value != 0, "the harness failed: XDP_ABORTED");
        Ok(Sample { time, action: result.return_value, output })
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the argument is a valid timespec; the clock exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
