//! A connection's task, which the runtime runs, and the host where it has something to be sent.
//!
//! To wake another thread costs more than a small packet: the system call, the switch there and, for the outcome, the
//! switch back. So the host's thread runs the task itself for a moment, unless the runtime is running it.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::{Context, Poll, Waker},
};

use tokio::runtime::Handle as Runtime;

pub struct Task {
    running: Mutex<Running>,
    /// The runtime had to turn away, since the host was running the task.
    turned_away: AtomicBool,
}

struct Running {
    /// `None` once it has ended.
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whose the task is, once it was run there.
    home: Option<Home>,
}

struct Home {
    runtime: Runtime,
    waker: Waker,
}

impl Task {
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            running: Mutex::new(Running {
                future: Some(Box::pin(future)),
                home: None,
            }),
            turned_away: AtomicBool::new(false),
        })
    }

    /// Runs it to its end, on a runtime.
    pub async fn run(self: Arc<Self>) {
        poll_fn(|cx| match self.enter_or_turn_away() {
            Some(mut running) => running.poll_at_home(cx),
            None => Poll::Pending,
        })
        .await;
    }

    /// Runs it on this thread as far as it comes. Gives false where the runtime is running it, or has never done so.
    pub fn run_here(&self) -> bool {
        let Some(mut running) = self.try_enter() else {
            return false;
        };
        let here = running.poll_here();
        drop(running);
        fence(Ordering::SeqCst);
        let turned_away = self.turned_away.swap(false, Ordering::Relaxed);
        let Some((waker, polled)) = here else {
            return false;
        };
        if turned_away || polled.is_ready() {
            waker.wake();
        }
        true
    }

    /// A host that has the task wakes the runtime again once it is done with it.
    fn enter_or_turn_away(&self) -> Option<MutexGuard<'_, Running>> {
        self.try_enter().or_else(|| {
            self.turned_away.store(true, Ordering::Relaxed);
            // Either the host sees that, or this sees that the host is done.
            fence(Ordering::SeqCst);
            self.try_enter()
        })
    }

    fn try_enter(&self) -> Option<MutexGuard<'_, Running>> {
        match self.running.try_lock() {
            Ok(running) => Some(running),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Running {
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

    /// Whatever the task waits for wakes the runtime.
    fn poll_here(&mut self) -> Option<(Waker, Poll<()>)> {
        let Home { runtime, waker } = self.home.as_ref()?;
        let (runtime, waker) = (runtime.clone(), waker.clone());
        let _entered = runtime.enter();
        let polled = self.poll(&mut Context::from_waker(&waker));
        Some((waker, polled))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else {
            return Poll::Ready(());
        };
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

#[cfg(test)]
mod tests;
