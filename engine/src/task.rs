//! A connection's task, which the runtime runs, and the host where it has something to be sent.
//!
//! To wake another thread costs more than a small packet: the system call, the switch there and, for the outcome, the
//! switch back. So the host's thread runs the task itself for a moment, unless the runtime is running it.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::runtime::Handle as Runtime;

/// Nobody runs the task.
const FREE: u8 = 0;
const RUNNING: u8 = 1;
/// The host runs it, and the runtime wants to.
const WANTED: u8 = 2;

pub struct Task {
    /// Who has it open is alone with `inner`.
    gate: AtomicU8,
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None` once it has ended.
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whose the task is, from the first time that it was run there up to its end.
    home: Option<Home>,
}

#[derive(Clone)]
struct Home {
    runtime: Runtime,
    waker: Waker,
}

/// The host's turn. However it ends, a runtime that wanted one gets it.
struct Turn<'a> {
    task: &'a Task,
    waker: Waker,
}

impl Task {
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            gate: AtomicU8::new(FREE),
            inner: Mutex::new(Inner {
                future: Some(Box::pin(future)),
                home: None,
            }),
        })
    }

    /// Runs it to its end, on a runtime.
    pub async fn run(self: Arc<Self>) {
        poll_fn(|cx| {
            if !self.enter_or_want() {
                return Poll::Pending;
            }
            let polled = self.inner().poll_at_home(cx);
            self.gate.store(FREE, Ordering::Release);
            polled
        })
        .await;
    }

    /// Runs it on this thread as far as it comes. Gives false where the runtime is running it, or does not do so between
    /// its first time and the end.
    pub fn run_here(&self) -> bool {
        if !self.enter() {
            return false;
        }
        let Some(Home { runtime, waker }) = self.inner().home.clone() else {
            self.gate.store(FREE, Ordering::Release);
            return false;
        };
        let turn = Turn { task: self, waker };
        let _entered = runtime.enter();
        // Whatever the task waits for wakes the runtime.
        let polled = self.inner().poll(&mut Context::from_waker(&turn.waker));
        if polled.is_ready() {
            turn.waker.wake_by_ref();
        }
        true
    }

    fn enter(&self) -> bool {
        self.gate
            .compare_exchange(FREE, RUNNING, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Enters, or lets the host know that it has to wake the runtime when it is done.
    fn enter_or_want(&self) -> bool {
        loop {
            if self.enter() {
                return true;
            }
            let wanted =
                self.gate
                    .compare_exchange(RUNNING, WANTED, Ordering::Relaxed, Ordering::Relaxed);
            if matches!(wanted, Ok(_) | Err(WANTED)) {
                return false;
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.task.gate.swap(FREE, Ordering::AcqRel) == WANTED {
            self.waker.wake_by_ref();
        }
    }
}

impl Inner {
    fn poll_at_home(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.home {
            Some(home) => home.waker.clone_from(cx.waker()),
            none => {
                *none = Some(Home {
                    runtime: Runtime::current(),
                    waker: cx.waker().clone(),
                });
            }
        }
        self.poll(cx)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else {
            return Poll::Ready(());
        };
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() {
            self.future = None;
            self.home = None;
        }
        polled
    }
}

#[cfg(test)]
mod tests;
