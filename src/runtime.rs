//! The one tokio runtime of the process, shared by all connections of all JavaScript environments.

use std::{
    env,
    future::pending,
    io,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

use tokio::runtime::{Builder, Runtime};

/// More workers than one pay off only with very many busy connections.
const WORKERS: &str = "CUSTOM_AUTHORIZER_WORKERS";
const THREAD_NAME: &str = "custom-authorizer";

/// The runtime, started with the first connection. It is never shut down: environments come and go.
pub(crate) fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<&Runtime> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = start(workers())?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

fn workers() -> usize {
    env::var(WORKERS)
        .ok()
        .and_then(|workers| workers.parse().ok())
        .filter(|workers| (1..=64).contains(workers))
        .unwrap_or(1)
}

/// One worker does without the scheduler of several, which takes a quarter of a megabyte more to start.
fn start(workers: usize) -> io::Result<&'static Runtime> {
    let mut builder = match workers {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime: &Runtime = Box::leak(Box::new(
        builder
            .worker_threads(workers)
            .max_blocking_threads(8)
            .thread_name(THREAD_NAME)
            .enable_io()
            .enable_time()
            .build()?,
    ));
    if workers == 1 {
        thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(|| runtime.block_on(pending::<()>()))?;
    }
    Ok(runtime)
}
