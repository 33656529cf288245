//! A connection over a stream that is open already: one link, no road to it and no other link after it.

use std::{
    future::Future,
    sync::{Arc, atomic::AtomicU64},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    commands,
    events::Events,
    handle::Handle,
    link::{End, Link},
    options::Options,
    session::Session,
    shared::Shared,
};

/// Prepares a connection as [`crate::connect`] does, for whoever wants to see protocol and link alone: it begins with
/// CONNECT, and how it begins and ends is not reported. `arrived` counts what arrives below the stream.
pub fn connect_over<S, E>(
    stream: S,
    arrived: Option<Arc<AtomicU64>>,
    options: Options,
    mut events: E,
) -> (Handle, impl Future<Output = End> + Send + use<S, E>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    E: Events,
{
    let options = Arc::new(options);
    let shared = Arc::new(Shared::new(options.queue));
    let (sender, mut commands) = commands::queue();
    let handle = Handle::new(options.clone(), shared.clone(), sender, None);
    let task = async move {
        let mut session = Session::new(options.clone(), shared);
        let mut link = Link::new(stream, &options);
        if let Some(arrived) = arrived {
            link.watch(arrived);
        }
        let connect = match session.connect(&options.login) {
            Ok(connect) => connect,
            Err(failure) => return End::Failed(failure),
        };
        match link.connect(&connect, &options).await {
            Ok(connack) => {
                session.connected(&connack, None, None, Instant::now());
                link.run(&mut session, &mut commands, &mut events).await
            }
            Err(failure) => End::Failed(failure),
        }
    };
    (handle, task)
}
