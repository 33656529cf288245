//! The one tokio runtime of the process, shared by all connections of all JavaScript environments.

use std::{env, io, sync::OnceLock};

use tokio::runtime::{Builder, Runtime};

/// More workers than one pay off only with very many busy connections.
const WORKERS: &str = "CUSTOM_AUTHORIZER_WORKERS";

/// The runtime, started with the first connection. It is never shut down: environments come and go.
pub(crate) fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let workers = env::var(WORKERS)
        .ok()
        .and_then(|workers| workers.parse().ok())
        .filter(|workers| (1..=64).contains(workers))
        .unwrap_or(1);
    let started = Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(8)
        .thread_name("custom-authorizer")
        .enable_io()
        .enable_time()
        .build()?;
    Ok(RUNTIME.get_or_init(|| started))
}
