//! Which cores a thread may use, and how much of them was used.
//!
//! One request at a time over loopback takes anything from 15 to 60 us, as the scheduler moves the two threads between cores and lets the idle
//! one sleep. With a core for each side all cases are measured alike.

use std::num::NonZero;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// How many cores this process has.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// What this process has used of all cores: on a shared machine the time that it would have taken alone.
pub(crate) fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec as u32)
}

/// Keeps the calling thread, and those that it starts from now on, on the core of this number; does nothing on a machine that has fewer.
pub(crate) fn only(core: usize) {
    if core < count() {
        allow(core..=core);
    }
}

/// Lets the calling thread, and those that it starts from now on, use every core again.
pub(crate) fn all() {
    allow(0..=CpuSet::MAX_CPU - 1);
}

fn allow(cores: impl IntoIterator<Item = usize>) {
    let mut set = CpuSet::new();
    cores.into_iter().for_each(|core| set.set(core));
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("latencies may jump: the scheduler takes no advice ({error})");
    }
}
