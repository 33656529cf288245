//! Work that all who want the same share.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    runtime::{self, Handle},
    sync::watch,
};

/// Work in flight by what it is for. It belongs to none of those who wait: one that hangs holds one thread, however many
/// attempts run out of time meanwhile.
pub(super) struct InFlight<K, V>(Arc<Mutex<Jobs<K, V>>>);

/// Work ends with its runtime; that must not fail those who wait on another one.
type Key<K> = (runtime::Id, K);
type Jobs<K, V> = HashMap<Key<K>, watch::Receiver<Option<V>>>;

impl<K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + Sync + 'static> InFlight<K, V> {
    /// Waits for the work for `key` that is in flight; where there is none, `work` becomes it. `None`: it was broken off.
    pub(super) async fn share(
        &self,
        key: K,
        work: impl Future<Output = V> + Send + 'static,
    ) -> Option<V> {
        let mut receiver = self.join(key, work);
        match receiver.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_broken_off) => None,
        }
    }

    fn join(
        &self,
        key: K,
        work: impl Future<Output = V> + Send + 'static,
    ) -> watch::Receiver<Option<V>> {
        let key = (Handle::current().id(), key);
        let mut jobs = self.jobs();
        if let Some(receiver) = jobs.get(&key) {
            return receiver.clone();
        }
        let (sender, receiver) = watch::channel(None);
        jobs.insert(key.clone(), receiver.clone());
        // A runtime that shuts down drops the task at once, which takes this lock.
        drop(jobs);
        let job = Job {
            all: self.clone(),
            key,
            sender,
        };
        tokio::spawn(async move {
            let done = work.await;
            job.publish(done);
        });
        receiver
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.jobs().is_empty()
    }
}

impl<K, V> Clone for InFlight<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for InFlight<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// One piece of work. However it ends, a panic included, its key is free before those who wait are told.
struct Job<K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + Sync + 'static> {
    all: InFlight<K, V>,
    key: Key<K>,
    sender: watch::Sender<Option<V>>,
}

impl<K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + Sync + 'static> Job<K, V> {
    fn publish(self, done: V) {
        let sender = self.sender.clone();
        // Whoever comes after the answer asks anew.
        drop(self);
        sender.send_replace(Some(done));
    }
}

impl<K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + Sync + 'static> Drop for Job<K, V> {
    fn drop(&mut self) {
        self.all.jobs().remove(&self.key);
    }
}
