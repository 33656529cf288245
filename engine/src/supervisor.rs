//! The life of a connection: opens a road, logs in, runs the link, and settles everything at the end.

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
    deadline::Deadline,
    error::{Code, Failure, Result, Stage},
    events::{Connected, Events},
    handle::Handle,
    link::{End, Link},
    options::{Level, Options},
    reason::{reason_name, return_code_name},
    session::{Command, Session},
    shared::Shared,
    transport::{self, Stream},
    wire::ConnAck,
};

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
    let mut untaken = Vec::new();
    let live = Box::pin(live(
        &options,
        &mut session,
        &mut commands,
        &mut untaken,
        &mut events,
    ));
    let end = guarded(live).await;
    shared.close();
    commands.close();
    // What the host is sending at this moment comes as well, which `try_recv` would not wait for.
    while let Some(batch) = commands.recv().await {
        untaken.extend(batch);
    }
    let (failure, of_operations) = match end {
        End::Failed(failure) => (Some(failure.clone()), failure),
        End::Disconnected | End::Abandoned => {
            let message = "the connection was closed before the operation was settled";
            (None, Failure::new(Code::Closed, Stage::Operation, message))
        }
    };
    // A host that panics over an outcome hears of the end all the same.
    let unsettled = catch_unwind(AssertUnwindSafe(|| {
        take(untaken, &mut session, &mut events);
        session.close(&of_operations, &mut events)
    }));
    let _panic = catch_unwind(AssertUnwindSafe(|| {
        if let Some(failure) = &failure {
            events.log(Level::Error, &failure.to_string());
        }
        events.closed(failure.as_ref(), unsettled.unwrap_or_default());
        events.flush();
    }));
}

/// One attempt and, if it succeeds, the link that follows.
async fn live<E: Events>(
    options: &Options,
    session: &mut Session,
    commands: &mut UnboundedReceiver<Vec<Command>>,
    untaken: &mut Vec<Command>,
    events: &mut E,
) -> End {
    let opening = Box::pin(attempt(options, session, events));
    let opened = tokio::select! {
        opened = opening => opened,
        end = interruption(commands, untaken) => return end,
    };
    let (mut link, connected) = match opened {
        Ok(opened) => opened,
        Err(failure) => return End::Failed(failure),
    };
    events.connected(&connected);
    events.flush();
    take(std::mem::take(untaken), session, events);
    link.run(session, commands, events).await
}

async fn attempt<E: Events>(
    options: &Options,
    session: &mut Session,
    events: &mut E,
) -> Result<(Box<Link<Stream>>, Connected)> {
    let Options {
        host,
        port,
        client_id,
        version,
        ..
    } = options;
    events.log(
        Level::Info,
        &format!("connecting to {host}:{port} as {client_id:?} over {version}"),
    );
    let deadline = Deadline::of_attempt(options);
    let stream = transport::open(options, &deadline).await?;
    events.log(Level::Debug, &transport::describe(&stream));
    let alpn_protocol = transport::alpn_protocol(&stream);
    let mut link = Box::new(Link::new(stream, options));
    let connack = deadline
        .within(Stage::Connack, link.connect(session, options))
        .await
        .map_err(|failure| without_alpn(failure, alpn_protocol.as_deref(), options))?;
    check(&connack, options)?;
    events.log(Level::Info, "connected");
    events.log(Level::Debug, &format!("CONNACK: {connack:?}"));
    Ok((
        link,
        session.connected(&connack, alpn_protocol, Instant::now()),
    ))
}

/// Waits until the host wants no connection any more. Everything else that it asks for is kept in `untaken`.
async fn interruption(
    commands: &mut UnboundedReceiver<Vec<Command>>,
    untaken: &mut Vec<Command>,
) -> End {
    while let Some(batch) = commands.recv().await {
        let ends = |command: &Command| matches!(command, Command::Disconnect { .. });
        let ended = batch.iter().any(ends);
        untaken.extend(batch);
        if ended {
            return End::Disconnected;
        }
    }
    End::Abandoned
}

fn take<E: Events>(commands: Vec<Command>, session: &mut Session, events: &mut E) {
    let now = Instant::now();
    for command in commands {
        session.command(command, now, events);
    }
}

/// A close before CONNACK on a link where the server did not select `mqtt` is most likely about that.
fn without_alpn(failure: Failure, alpn_protocol: Option<&str>, options: &Options) -> Failure {
    if failure.code() != Code::ClosedBeforeConnack || alpn_protocol == Some("mqtt") {
        return failure;
    }
    let message = format!(
        "{}:{} closed the connection after CONNECT and did not select the protocol `mqtt` (ALPN)",
        options.host, options.port
    );
    let alpn = Failure::new(Code::Alpn, Stage::Connack, message);
    match failure.cause() {
        Some(cause) => alpn.with_cause(cause),
        None => alpn,
    }
}

fn check(connack: &ConnAck, options: &Options) -> Result<()> {
    let code = connack.code;
    if code == 0 {
        return Ok(());
    }
    // A server that knows MQTT 3.1.1 only refuses MQTT 5 with a code of the older version.
    let name = if code < 0x80 {
        return_code_name(code)
    } else {
        reason_name(code)
    };
    // Of both versions: brokers mix them up.
    let login = matches!(code, 4 | 5 | 7 | 0x86 | 0x87 | 0x8c);
    let kind = if login {
        Code::NotAuthorized
    } else {
        Code::ConnectRefused
    };
    let message = format!(
        "{}:{} refused the connection: {name} (CONNACK {})",
        options.host,
        options.port,
        if code < 0x80 {
            code.to_string()
        } else {
            format!("0x{code:02x}")
        }
    );
    Err(Failure::new(kind, Stage::Connack, message)
        .with_reason(code, connack.reason_string.clone()))
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

#[cfg(test)]
mod tests;
