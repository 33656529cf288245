//! What the host asks for, on its way to the connection's task.

use std::{
    cell::Cell,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::session::Command;

/// A list that has grown beyond this is not kept for the next batch.
const KEPT_COMMANDS: usize = 512;

thread_local! {
    /// An empty list that all connections of a thread take in turn, so that an idle connection holds none.
    static SPARE: Cell<Vec<Command>> = const { Cell::new(Vec::new()) };
}

/// An empty list for a batch.
pub fn spare() -> Vec<Command> {
    SPARE.take()
}

/// Keeps a list that was emptied, for [`spare`].
pub fn keep(mut list: Vec<Command>) {
    list.clear();
    if list.capacity() <= KEPT_COMMANDS {
        SPARE.set(list);
    }
}

/// A queue without a bound of its own: what is in it has its room from the budget.
pub fn queue() -> (Sender, Receiver) {
    let queue = Arc::new(Queue::default());
    (Sender(queue.clone()), Receiver(queue))
}

/// The host's end. Dropping it tells the task that the host is gone.
pub struct Sender(Arc<Queue>);

/// The task's end.
pub struct Receiver(Arc<Queue>);

#[derive(Default)]
struct Queue(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    commands: Vec<Command>,
    waker: Option<Waker>,
    /// The host is gone.
    abandoned: bool,
    /// The task takes nothing any more.
    closed: bool,
}

impl Sender {
    /// Adds these, and leaves it to the caller to wake the task or to run it. Gives whether nothing waited before them.
    /// A task that has ended takes nothing.
    pub fn send(&self, batch: Vec<Command>) -> bool {
        let mut inner = self.0.lock();
        if inner.closed {
            return false;
        }
        let first = inner.commands.is_empty();
        if first {
            inner.commands = batch;
        } else {
            inner.commands.extend(batch);
        }
        first
    }

    pub fn wake(&self) {
        let waker = self.0.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().abandoned = true;
        self.wake();
    }
}

impl Receiver {
    /// Everything that is there; `None` once the host is gone and nothing is left.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<Command>>> {
        let mut inner = self.0.lock();
        if !inner.commands.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut inner.commands)));
        }
        if inner.abandoned {
            return Poll::Ready(None);
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    pub async fn recv(&mut self) -> Option<Vec<Command>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// What is there now.
    #[cfg(test)]
    pub fn try_recv(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.0.lock().commands)
    }

    /// Takes nothing any more; gives what is there. A host that stays holds nothing of the task from here on.
    pub fn close(&mut self) -> Vec<Command> {
        let mut inner = self.0.lock();
        inner.closed = true;
        inner.waker = None;
        std::mem::take(&mut inner.commands)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
