//! The engine as the Node face has it: its task on a thread of its own, the host on the main thread.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bench_loops::{Host, Outbox, Result};
use engine::{ConnectOptions, Credentials, Options, TlsOptions, connect};
use tokio::runtime::Builder;

use crate::job::Job;

/// Gives how long the messages took.
pub fn run(job: &Job) -> Result<Duration> {
    // One worker as in the addon, in the form that leaves this thread to the host's own loop.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .enable_io()
        .enable_time()
        .build()?;
    let outbox = Arc::new(Outbox::default());
    let (handle, task) = connect(options(job)?, outbox.events());
    let task = runtime.spawn(task);
    let mut host = Host::new(handle, outbox);
    runtime.block_on(async {
        host.connected().await?;
        let wall = work(&mut host, job).await?;
        host.disconnect();
        task.await?;
        Ok(wall)
    })
}

async fn work(host: &mut Host, job: &Job) -> Result<Duration> {
    let load = job.load()?;
    match job.text("kind")? {
        "publish" => {
            let before = Instant::now();
            host.publish(load, job.number("window")?).await?;
            host.barrier(load.size).await?;
            Ok(before.elapsed())
        }
        "receive" if load.count == 0 => Ok(Duration::ZERO),
        "receive" => host.receive(job.text("filter")?, load).await,
        other => Err(format!("no kind is called {other}").into()),
    }
}

fn options(job: &Job) -> Result<Options> {
    let options = ConnectOptions {
        endpoint: job.text("host")?.to_owned(),
        port: Some(job.number("port")? as f64),
        client_id: Some(job.text("id")?.to_owned()),
        mqtt_version: Some(job.number("version")? as f64),
        credentials: Credentials {
            authorizer_name: Some(job.text("authorizerName")?.to_owned()),
            username: Some(job.text("username")?.to_owned()),
            password: Some(job.text("password")?.into()),
            ..Credentials::default()
        },
        tls: TlsOptions {
            ca_file: Some(job.text("ca")?.to_owned()),
            ..TlsOptions::default()
        },
        limits: Some("none".to_owned()),
        ..ConnectOptions::default()
    };
    Ok(options.validate()?)
}
