//! A client of the benchmark without JavaScript: `bench-client KEY=VALUE...`, with the keys of `worker.mjs`'s job.
//!
//! It prints the result as one line of JSON.

/// On the engine, over TLS.
mod engine;
mod job;
/// On TLS alone.
mod tls;

use std::{
    io::{self, Write},
    time::Duration,
};

use bench_loops::Result;

use crate::job::Job;

fn main() -> Result<()> {
    let job = Job::parse(std::env::args().skip(1))?;
    let wall = match job.text("module")? {
        "engine" => engine::run(&job)?,
        "tls" => tls::run(&job)?,
        other => return Err(format!("no module is called {other}").into()),
    };
    let cpu = cpu_time()?;
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        r#"{{"wallMs":{},"cpuMicros":{}}}"#,
        wall.as_secs_f64() * 1e3,
        cpu.as_secs_f64() * 1e6
    )?;
    Ok(())
}

/// Of all threads since the process began.
fn cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes into `time` and keeps nothing of it.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    match status {
        0 => Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32)),
        _ => Err(io::Error::last_os_error()),
    }
}
