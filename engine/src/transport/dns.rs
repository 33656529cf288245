//! A name to its addresses.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};

use tokio::net::lookup_host;

use super::in_flight::InFlight;
use crate::error::{Code, Failure, Result, Stage};

/// The addresses of `host`, which the system's resolver is asked for anew each time.
///
/// Those who ask for one name at the same time share one lookup. It belongs to none of them: a resolver that hangs
/// holds one thread for the name, however many attempts run out of time meanwhile.
pub(super) async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    static LOOKUPS: LazyLock<Lookups> = LazyLock::new(Lookups::default);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    let resolve = async move { Ok(lookup_host((name, 0)).await?.collect()) };
    LOOKUPS.ask(host, port, resolve).await
}

type Answer = Result<Vec<SocketAddr>>;

/// The lookups in flight.
#[derive(Clone, Default)]
struct Lookups(InFlight<String, Answer>);

impl Lookups {
    /// Waits for the lookup of `host` that is in flight; where there is none, `resolve` becomes it.
    async fn ask(
        &self,
        host: &str,
        port: u16,
        resolve: impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    ) -> Answer {
        let name = host.to_owned();
        let lookup = async move {
            match resolve.await {
                Ok(addresses) if addresses.is_empty() => Err(failure(&name, "it has no address")),
                Ok(addresses) => Ok(addresses),
                Err(error) => Err(failure(&name, &error.to_string())),
            }
        };
        let answer = self.0.share(host.to_owned(), lookup).await;
        let mut addresses =
            answer.unwrap_or_else(|| Err(failure(host, "the lookup was broken off")))?;
        for address in &mut addresses {
            address.set_port(port);
        }
        Ok(addresses)
    }
}

fn failure(host: &str, cause: &str) -> Failure {
    let message = format!("the name {host} does not resolve: {cause}");
    Failure::new(Code::Dns, Stage::Dns, message)
}

#[cfg(test)]
mod tests;
