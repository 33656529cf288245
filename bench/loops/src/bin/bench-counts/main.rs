//! What a message costs the engine: `bench-counts publish|receive QOS COUNT` moves so many messages through a connection
//! in memory, on one thread, and prints how often the process allocated. Callgrind counts its instructions.
//!
//! Of two runs the difference counts, in which the beginning and the end cancel each other out. Nothing in it depends on
//! the machine or the moment: no socket, no TLS, no other thread; and of the maps with a random seed none is used by a
//! message but that of the filters, which holds one.

mod allocator;
mod peer;

use std::{
    io::{self, Write},
    sync::Arc,
};

use bench_loops::{Host, Load, Outbox, Result};
use engine::{ConnectOptions, connect_over};
use tokio::runtime::Builder;

use crate::{allocator::Counting, peer::Peer};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

const FILTER: &str = "bench/receive";
const SIZE: usize = 64;
const WINDOW: usize = 100;

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [kind, qos, count] = &words[..] else {
        return Err("usage: bench-counts publish|receive QOS COUNT".into());
    };
    let load = Load {
        qos: qos.parse()?,
        size: SIZE,
        count: count.parse()?,
    };
    Builder::new_current_thread()
        .enable_time()
        .build()?
        .block_on(run(kind, load))?;
    let count = ALLOCATOR.count();
    writeln!(io::stdout().lock(), "{count}")?;
    Ok(())
}

async fn run(kind: &str, load: Load) -> Result<()> {
    let options = ConnectOptions {
        endpoint: "localhost".to_owned(),
        client_id: Some("counts".to_owned()),
        // Pings come by the clock.
        keep_alive_seconds: Some(0.0),
        limits: Some("none".to_owned()),
        ..ConnectOptions::default()
    };
    let outbox = Arc::new(Outbox::default());
    let peer = Peer::new(FILTER, load);
    let (handle, task) = connect_over(peer, None, options.validate()?, outbox.events());
    let mut task = tokio::spawn(task);
    let mut host = Host::new(handle, outbox);
    let work = async {
        match kind {
            "publish" => host.publish(load, WINDOW).await,
            "receive" => host.receive(FILTER, load).await.map(drop),
            other => Err(format!("no kind is called {other}").into()),
        }
    };
    tokio::select! {
        biased;
        done = work => done?,
        end = &mut task => return Err(format!("the connection has ended: {end:?}").into()),
    }
    host.disconnect();
    task.await?;
    Ok(())
}
