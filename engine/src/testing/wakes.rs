use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
};

/// Counts how often it is woken.
#[derive(Clone, Default)]
pub struct Wakes(Arc<Count>);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wakes {
    pub fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    /// How often since the last time.
    pub fn take(&self) -> usize {
        self.0.0.swap(0, Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
