//! The life of a connection: attempts, the links that follow them, what lies between, and the end of it all.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::Instant,
};

use crate::{
    error::{Code, Failure, Stage},
    events::Events,
    handle::Handle,
    link::End,
    options::{Level, Options},
    session::{Command, Session},
    shared::Shared,
};

pub(crate) mod attempt;
mod backoff;
mod life;
mod retry;
#[cfg(test)]
mod tests;

use life::Life;

/// Prepares a connection: the host's end, and the task that the host runs to its end.
pub fn connect<E: Events>(
    options: Options,
    events: E,
) -> (Handle, impl Future<Output = ()> + Send + use<E>) {
    let options = Arc::new(options);
    let shared = Arc::new(Shared::new(options.queue));
    let (sender, commands) = mpsc::unbounded_channel();
    let handle = Handle::new(options.clone(), shared.clone(), sender);
    (handle, supervise(options, shared, commands, events))
}

/// Runs a connection and reports its end, whatever happens: also a panic ends in `closed`.
async fn supervise<E: Events>(
    options: Arc<Options>,
    shared: Arc<Shared>,
    mut commands: UnboundedReceiver<Vec<Command>>,
    mut events: E,
) {
    let mut session = Session::new(options.clone(), shared.clone());
    let life = Life::new(options, &mut session, &mut commands, &mut events);
    let end = guarded(Box::pin(life.live())).await;
    shared.close();
    commands.close();
    let mut untaken = Vec::new();
    // What the host is sending at this moment comes as well, which `try_recv` would not wait for.
    while let Some(batch) = commands.recv().await {
        untaken.extend(batch);
    }
    let (failure, of_operations) = match end {
        End::Failed(failure) => (Some(failure.clone()), failure),
        End::Disconnected | End::Abandoned | End::Renewing => {
            let message = "the connection was closed before the operation was settled";
            (None, Failure::new(Code::Closed, Stage::Operation, message))
        }
    };
    let now = Instant::now();
    // A host that panics over an outcome hears of the end all the same.
    let unsettled = catch_unwind(AssertUnwindSafe(|| {
        for command in untaken {
            session.command(command, now, &mut events);
        }
        session.close(&of_operations, now, &mut events)
    }));
    let _panic = catch_unwind(AssertUnwindSafe(|| {
        if let Some(failure) = &failure {
            events.log(Level::Error, &failure.to_string());
        }
        events.closed(failure.as_ref(), unsettled.unwrap_or_default());
        events.flush();
    }));
}

/// Polls `future` so that a panic in it becomes an end like any other.
async fn guarded(mut future: Pin<Box<impl Future<Output = End>>>) -> End {
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(End::Failed(panic_failure(&*panic))))
    })
    .await
}

fn panic_failure(panic: &(dyn Any + Send)) -> Failure {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Failure::new(
        Code::Internal,
        Stage::Session,
        "the connection's task panicked",
    )
    .with_cause(what)
}
