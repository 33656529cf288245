//! Addresses to a TCP connection.

use std::{
    collections::HashSet,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    result,
    task::Poll,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::sleep};

use crate::{
    error::{Code, Failure, Result, Stage},
    options::Options,
};

/// Connects to the address that answers first, by RFC 8305. `peer` is what a failure calls the endpoint.
///
/// Nothing of it goes on when the future is dropped.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    options: &SocketOptions,
    peer: &str,
) -> Result<TcpStream> {
    let attempt = |address| async move {
        let stream = TcpStream::connect(address).await?;
        options.set(&stream);
        Ok(stream)
    };
    race(&interleaved(addresses), attempt)
        .await
        .map_err(|refusals| failure(peer, &refusals))
}

/// What the system is asked to watch on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SocketOptions {
    /// How long nothing arrives before TCP asks whether the peer is still there.
    pub keep_alive: Duration,
    /// How long what was sent may stay without an acknowledgement.
    #[cfg_attr(
        not(any(target_os = "android", target_os = "linux")),
        allow(dead_code, reason = "only these systems have it")
    )]
    pub user_timeout: Duration,
}

impl SocketOptions {
    pub(super) fn of(options: &Options) -> Self {
        let user_timeout = LINK_STALL.max(options.ping_timeout) + USER_TIMEOUT_AFTER_LINK;
        match options.keep_alive_seconds {
            // Linux ends an idle connection at the first probe without an answer once the user timeout has passed.
            // Where TCP alone watches, all of its probes are to count.
            0 => Self {
                keep_alive: KEEP_ALIVE_WITHOUT_PINGS,
                user_timeout: user_timeout + KEEP_ALIVE_WITHOUT_PINGS,
            },
            // A device that asked for rare pings must not be woken by TCP more often than by MQTT.
            seconds => Self {
                keep_alive: LEAST_KEEP_ALIVE.max(Duration::from_secs(seconds.into())),
                user_timeout,
            },
        }
    }

    /// A connection without these options is better than none: what the system refuses is left out.
    pub(super) fn set(&self, stream: &TcpStream) {
        // Packets are gathered before they are written; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let socket = SockRef::from(stream);
        let keep_alive = TcpKeepalive::new().with_time(self.keep_alive);
        #[cfg(any(
            target_os = "android",
            target_os = "freebsd",
            target_os = "ios",
            target_os = "linux",
            target_os = "macos",
            windows
        ))]
        let keep_alive = keep_alive
            .with_interval(Duration::from_secs(10))
            .with_retries(4);
        let _ = socket.set_tcp_keepalive(&keep_alive);
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let _ = socket.set_tcp_user_timeout(Some(self.user_timeout));
    }
}

const KEEP_ALIVE_WITHOUT_PINGS: Duration = Duration::from_secs(300);
const LEAST_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When the link itself gives up a write that stalls.
const LINK_STALL: Duration = Duration::from_secs(30);
/// The link speaks first, since it can say what is wrong.
const USER_TIMEOUT_AFTER_LINK: Duration = Duration::from_secs(10);

/// The Connection Attempt Delay that RFC 8305 recommends (section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How many addresses a message names.
const NAMED: usize = 8;

type Refusal = (SocketAddr, io::Error);

/// Each address once, the families by turns, beginning with that of the first (RFC 8305 section 4).
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    let (of_first, others): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .filter(|address| seen.insert(*address))
        .partition(|address| address.is_ipv4() == addresses[0].is_ipv4());
    let (mut of_first, mut others) = (of_first.into_iter(), others.into_iter());
    let mut order = Vec::new();
    while order.len() < seen.len() {
        order.extend(of_first.next());
        order.extend(others.next());
    }
    order
}

/// The first success; all failures, in the order in which they came, when there is none.
async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> result::Result<T, Vec<Refusal>> {
    let mut waiting = addresses.iter();
    let mut attempts = Vec::new();
    let mut refusals = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            attempts.push((*address, Box::pin(connect(*address))));
        } else if attempts.is_empty() {
            return Err(refusals);
        }
        tokio::select! {
            biased;
            (address, outcome) = first_done(&mut attempts) => match outcome {
                Ok(connected) => return Ok(connected),
                Err(error) => refusals.push((address, error)),
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

async fn first_done<F: Future>(
    attempts: &mut Vec<(SocketAddr, Pin<Box<F>>)>,
) -> (SocketAddr, F::Output) {
    poll_fn(|cx| {
        for index in 0..attempts.len() {
            if let Poll::Ready(outcome) = attempts[index].1.as_mut().poll(cx) {
                let (address, _done) = attempts.remove(index);
                return Poll::Ready((address, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

fn failure(peer: &str, refusals: &[Refusal]) -> Failure {
    let mut causes: Vec<_> = refusals
        .iter()
        .take(NAMED)
        .map(|(address, error)| format!("{address}: {error}"))
        .collect();
    if refusals.len() > NAMED {
        causes.push(format!("and {} more", refusals.len() - NAMED));
    }
    let message = format!("no TCP connection to {peer}: {}", causes.join("; "));
    let failure = Failure::new(Code::Tcp, Stage::Tcp, message);
    match refusals.first() {
        Some((_, error)) => failure.with_cause(error),
        None => failure,
    }
}

#[cfg(test)]
mod tests;
