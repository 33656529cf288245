//! A name to its addresses.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    net::lookup_host,
    runtime::{self, Handle},
    sync::watch,
};

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

/// A lookup ends with its runtime; that must not fail those who wait on another one.
type Key = (runtime::Id, String);

/// The lookups in flight, each with what its answer comes through.
#[derive(Clone, Default)]
struct Lookups(Arc<Mutex<HashMap<Key, watch::Receiver<Option<Answer>>>>>);

impl Lookups {
    /// Waits for the lookup of `host` that is in flight; where there is none, `resolve` becomes it.
    async fn ask(
        &self,
        host: &str,
        port: u16,
        resolve: impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    ) -> Answer {
        let mut receiver = self.join(host, resolve);
        let answer = match receiver.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_broken_off) => None,
        };
        let mut addresses =
            answer.unwrap_or_else(|| Err(failure(host, "the lookup was broken off")))?;
        for address in &mut addresses {
            address.set_port(port);
        }
        Ok(addresses)
    }

    fn join(
        &self,
        host: &str,
        resolve: impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    ) -> watch::Receiver<Option<Answer>> {
        let key = (Handle::current().id(), host.to_owned());
        let mut in_flight = self.in_flight();
        if let Some(receiver) = in_flight.get(&key) {
            return receiver.clone();
        }
        let (sender, receiver) = watch::channel(None);
        in_flight.insert(key.clone(), receiver.clone());
        // A runtime that shuts down drops the task at once, which takes this lock.
        drop(in_flight);
        let lookup = Lookup {
            lookups: self.clone(),
            key,
            sender,
        };
        tokio::spawn(async move {
            let resolved = resolve.await;
            lookup.publish(resolved);
        });
        receiver
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Option<Answer>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lookup in flight. However it ends, a panic included, its name is free before those who wait are told.
struct Lookup {
    lookups: Lookups,
    key: Key,
    sender: watch::Sender<Option<Answer>>,
}

impl Lookup {
    fn publish(self, resolved: io::Result<Vec<SocketAddr>>) {
        let (_, host) = &self.key;
        let answer = match resolved {
            Ok(addresses) if addresses.is_empty() => Err(failure(host, "it has no address")),
            Ok(addresses) => Ok(addresses),
            Err(error) => Err(failure(host, &error.to_string())),
        };
        let sender = self.sender.clone();
        // Whoever comes after the answer asks anew.
        drop(self);
        sender.send_replace(Some(answer));
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.lookups.in_flight().remove(&self.key);
    }
}

fn failure(host: &str, cause: &str) -> Failure {
    let message = format!("the name {host} does not resolve: {cause}");
    Failure::new(Code::Dns, Stage::Dns, message)
}

#[cfg(test)]
mod tests;
