//! The road to the endpoint, gone slowly: each part of it is reported with its time and with what was seen.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::either::Either;

use super::{
    Stream, Transport, arrivals::Counted, dial, dns, proxy, socket::Socket, tls, websocket,
};
use crate::{
    authorizer::Upgrade,
    deadline::Deadline,
    error::{Code, Failure, Result, Stage},
    options::{ALPN_MQTT, Options},
};

/// How long one address may take to accept a connection.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(5);
/// A server may give up on a connection that has said nothing for longer.
const FRESH: Duration = Duration::from_secs(1);

/// A part of the road.
#[derive(Clone, Debug)]
pub struct Passage {
    pub name: &'static str,
    pub took: Duration,
    /// What was seen, in lines for people.
    pub seen: Vec<String>,
    pub failure: Option<Failure>,
    /// Why it was left out.
    pub skipped: Option<String>,
}

impl Passage {
    /// One that succeeded in no time.
    pub fn of(name: &'static str, seen: Vec<String>) -> Self {
        Self {
            name,
            took: Duration::ZERO,
            seen,
            failure: None,
            skipped: None,
        }
    }

    pub fn skipped(name: &'static str, reason: &str) -> Self {
        Self {
            skipped: Some(reason.to_owned()),
            ..Self::of(name, Vec::new())
        }
    }
}

/// Hears of each part as it is done.
pub type Witness<'a> = dyn FnMut(Passage) + Send + 'a;

impl Transport {
    /// As [`Transport::open`], one thing after the other, and with every address tried.
    pub async fn walk(
        &self,
        upgrade: Option<&Upgrade>,
        deadline: &Deadline,
        witness: &mut Witness<'_>,
    ) -> Result<Stream> {
        let socket = self.walk_to_socket(deadline, witness).await?;
        let stream = self.walk_tls(socket, deadline, witness).await?;
        report_alpn(&stream, &self.options, witness);
        let Some(upgrade) = upgrade else {
            return Ok(Either::Left(Box::new(stream)));
        };
        let clock = Instant::now();
        let at = self.options.peer();
        let opening = websocket::open(Counted::new(stream), upgrade, &self.options, &at);
        let opened = deadline.within(Stage::WebSocket, opening).await;
        let path = upgrade.shown_path();
        let seen = vec![format!("asked for {path}, subprotocol mqtt")];
        tell(witness, "websocket", clock, seen, opened)
            .map(|stream| Either::Right(Box::new(stream)))
    }

    async fn walk_to_socket(
        &self,
        deadline: &Deadline,
        witness: &mut Witness<'_>,
    ) -> Result<Socket> {
        let Options { host, port, .. } = &*self.options;
        let sockets = dial::SocketOptions::of(&self.options);
        let clock = Instant::now();
        if let Some(proxy) = &self.options.proxy {
            let reaching = async {
                let tls = self.proxy_tls(proxy).await?;
                proxy::reach(proxy, tls, &sockets, host, *port).await
            };
            let reached = deadline.within(Stage::Proxy, reaching).await;
            let seen = vec![format!(
                "{proxy} is to resolve the endpoint's name and connect to it"
            )];
            return tell(witness, "proxy", clock, seen, reached);
        }
        let found = deadline.within(Stage::Dns, dns::lookup(host, *port)).await;
        let seen = match &found {
            Ok(addresses) => addresses.iter().map(|one| one.ip().to_string()).collect(),
            Err(_) => Vec::new(),
        };
        let addresses = tell(witness, "dns", clock, seen, found)?;
        self.walk_addresses(&addresses, &sockets, deadline, witness)
            .await
    }

    /// All at once, so that one that swallows packets costs the others nothing.
    async fn walk_addresses(
        &self,
        addresses: &[SocketAddr],
        sockets: &dial::SocketOptions,
        deadline: &Deadline,
        witness: &mut Witness<'_>,
    ) -> Result<Socket> {
        let clock = Instant::now();
        // Half of the time is for what comes after.
        let patience = ADDRESS_PATIENCE.min(deadline.remaining() / 2);
        let mut attempts = JoinSet::new();
        for (index, address) in addresses.iter().copied().enumerate() {
            attempts.spawn(async move {
                let connected = timeout(patience, TcpStream::connect(address)).await;
                (index, clock.elapsed(), connected)
            });
        }
        let mut outcomes = Vec::new();
        while let Some(done) = attempts.join_next().await {
            outcomes.extend(done);
        }
        outcomes.sort_by_key(|(index, ..)| *index);
        let mut first = None;
        let mut last = None;
        for (index, took, connected) in outcomes {
            let address = addresses[index];
            let refusal = match connected {
                Ok(Ok(tcp)) => {
                    first.get_or_insert((tcp, address, took));
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} ms", patience.as_millis())),
            };
            let failure = refusal.map(|reason| {
                let message = format!("no TCP connection to {address}: {reason}");
                Failure::new(Code::Tcp, Stage::Tcp, message)
            });
            last = failure.clone().or(last);
            witness(Passage {
                took,
                failure,
                ..Passage::of("tcp", vec![address.to_string()])
            });
        }
        match (first, last) {
            (Some((mut tcp, address, took)), _) => {
                if clock.elapsed() - took > FRESH {
                    let clock = Instant::now();
                    let (one, at) = ([address], self.options.peer());
                    let renewing = deadline.within(Stage::Tcp, dial::connect(&one, sockets, &at));
                    let seen = vec![format!("{address} once more, for what comes next")];
                    tcp = tell(witness, "tcp", clock, seen, renewing.await)?;
                }
                sockets.set(&tcp);
                Ok(Either::Left(tcp))
            }
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::new(Code::Tcp, Stage::Tcp, "there is no address")),
        }
    }

    async fn walk_tls(
        &self,
        socket: Socket,
        deadline: &Deadline,
        witness: &mut Witness<'_>,
    ) -> Result<tls::TlsStream<Socket>> {
        let tls = &self.options.tls;
        let clock = Instant::now();
        let shaking = async {
            let config = self.endpoint_tls().await?;
            Ok(tls::handshake(config, tls.server_name.clone(), socket).await)
        };
        let name = if tls.sends_no_server_name() {
            "no server name (SNI): the endpoint is an address".to_owned()
        } else {
            format!("server name (SNI) {}", tls.server_name.to_str())
        };
        match deadline.within(Stage::Tls, shaking).await {
            Err(failure) => tell(witness, "tls", clock, vec![name], Err(failure)),
            Ok(Err(error)) => {
                let host = tls.server_name.to_str();
                let failure = tls::failure(
                    &error,
                    &self.options.peer(),
                    &host,
                    &tls.profile.alpn_protocols,
                );
                let mut seen = vec![name];
                seen.extend(tls::refused_chain(&error));
                tell(witness, "tls", clock, seen, Err(failure))
            }
            Ok(Ok(stream)) => {
                let took = clock.elapsed();
                let mut seen = vec![name];
                seen.extend(tls::describe(stream.get_ref().1, &tls.profile).await);
                witness(Passage {
                    took,
                    ..Passage::of("tls", seen)
                });
                Ok(stream)
            }
        }
    }
}

/// A server that selects nothing is no failure yet: what it says to CONNECT decides.
fn report_alpn(stream: &tls::TlsStream<Socket>, options: &Options, witness: &mut Witness<'_>) {
    let offered = &options.tls.profile.alpn_protocols;
    let selected = stream.get_ref().1.alpn_protocol();
    let names = |protocols: &[Vec<u8>]| match protocols {
        [] if options.websocket.is_some() => "nothing, as WebSocket wants it".to_owned(),
        [] => "nothing".to_owned(),
        protocols => protocols
            .iter()
            .map(|name| String::from_utf8_lossy(name))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let mut seen = vec![
        format!("offered {}", names(offered)),
        match selected {
            None => "the server selected none".to_owned(),
            Some(name) => format!("the server selected {}", String::from_utf8_lossy(name)),
        },
    ];
    if selected.is_none() && offered.iter().any(|name| name == ALPN_MQTT) {
        seen.push("an endpoint that does not select mqtt may be no IoT data endpoint, or something that inspects TLS stands between".to_owned());
    }
    witness(Passage::of("alpn", seen));
}

fn tell<T>(
    witness: &mut Witness<'_>,
    name: &'static str,
    clock: Instant,
    seen: Vec<String>,
    outcome: Result<T>,
) -> Result<T> {
    witness(Passage {
        took: clock.elapsed(),
        failure: outcome.as_ref().err().cloned(),
        ..Passage::of(name, seen)
    });
    outcome
}

#[cfg(test)]
mod tests;
