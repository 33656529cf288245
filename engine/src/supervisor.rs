//! The life of a connection: attempts, the links that follow them, what lies between, and the end of it all.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use tokio::time::Instant;

use crate::{
    commands::{self, Receiver},
    error::{Code, Failure, Stage},
    events::Events,
    handle::Handle,
    link::End,
    options::{Level, Options},
    session::Session,
    shared::Shared,
    task::Task,
};

pub(crate) mod attempt;
mod backoff;
mod life;
mod retry;
#[cfg(test)]
mod tests;

use life::Life;

/// Prepares a connection: the host's end, and the task that the host runs to its end.
pub fn connect<E: Events + 'static>(
    options: Options,
    events: E,
) -> (Handle, impl Future<Output = ()> + Send + use<E>) {
    let options = Arc::new(options);
    let shared = Arc::new(Shared::new(options.queue));
    let (sender, receiver) = commands::queue();
    let task = Task::new(supervise(options.clone(), shared.clone(), receiver, events));
    let handle = Handle::new(options, shared, sender, Some(task.clone()));
    (handle, task.run())
}

/// Runs a connection and reports its end, whatever happens: also a panic ends in `closed`.
async fn supervise<E: Events>(
    options: Arc<Options>,
    shared: Arc<Shared>,
    mut commands: Receiver,
    mut events: E,
) {
    let mut session = Session::new(options.clone(), shared.clone());
    let end = {
        let mut life = Life::new(options, &mut session, &mut commands, &mut events);
        guarded(Box::pin(life.live())).await
    };
    shared.set_linked(false);
    shared.close();
    let untaken = commands.close();
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
