use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize},
    },
    thread,
    time::Duration,
};

use super::*;
use crate::testing::Wakes;

/// A task, what the runtime would run, and how often that was woken.
struct Home {
    task: Arc<Task>,
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
    wakes: Wakes,
}

impl Home {
    fn of(future: impl Future<Output = ()> + Send + 'static) -> Self {
        let task = Task::new(future);
        Self {
            run: Box::pin(task.clone().run()),
            task,
            wakes: Wakes::default(),
        }
    }

    fn poll(&mut self) -> Poll<()> {
        let waker = self.wakes.waker();
        self.run.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Never ends, and counts its polls.
fn counting(polls: &Arc<AtomicUsize>) -> impl Future<Output = ()> + Send + use<> {
    let polls = polls.clone();
    poll_fn(move |_| {
        polls.fetch_add(1, Ordering::SeqCst);
        Poll::Pending
    })
}

#[tokio::test]
async fn the_host_runs_what_the_runtime_has_begun() {
    let polls = Arc::default();
    let mut home = Home::of(counting(&polls));
    assert!(!home.task.run_here());
    assert_eq!(polls.load(Ordering::SeqCst), 0);
    assert!(home.poll().is_pending());
    assert!(home.task.run_here());
    assert_eq!(polls.load(Ordering::SeqCst), 2);
    assert_eq!(home.wakes.take(), 0);
}

#[tokio::test]
async fn what_the_task_waits_for_wakes_the_runtime_though_the_host_ran_it() {
    let kept: Arc<Mutex<Option<Waker>>> = Arc::default();
    let keep = kept.clone();
    let mut home = Home::of(poll_fn(move |cx| {
        *keep.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }));
    assert!(home.poll().is_pending());
    assert!(home.task.run_here());
    kept.lock().unwrap().take().unwrap().wake();
    assert_eq!(home.wakes.take(), 1);
}

#[tokio::test]
async fn the_host_does_not_run_what_the_runtime_is_running() {
    let task: Arc<Mutex<Option<Arc<Task>>>> = Arc::default();
    let ran = Arc::new(AtomicBool::new(true));
    let (inside, outcome) = (task.clone(), ran.clone());
    let mut home = Home::of(poll_fn(move |_| {
        let task = inside.lock().unwrap().clone().unwrap();
        outcome.store(task.run_here(), Ordering::SeqCst);
        Poll::Pending
    }));
    *task.lock().unwrap() = Some(home.task.clone());
    assert!(home.poll().is_pending());
    assert!(!ran.load(Ordering::SeqCst));
    task.lock().unwrap().take();
}

#[tokio::test]
async fn a_runtime_that_was_turned_away_is_woken_once_the_host_is_done() {
    let again: Arc<Mutex<Option<Home>>> = Arc::default();
    let inside = again.clone();
    let polls = Arc::new(AtomicUsize::new(0));
    let mut home = Home::of(poll_fn(move |_| {
        // The second time it is the host, and now the runtime wants to.
        if polls.fetch_add(1, Ordering::SeqCst) == 1 {
            let mut runtime = inside.lock().unwrap();
            assert!(runtime.as_mut().unwrap().poll().is_pending());
            assert_eq!(runtime.as_mut().unwrap().wakes.take(), 0);
        }
        Poll::Pending
    }));
    assert!(home.poll().is_pending());
    let (task, wakes) = (home.task.clone(), home.wakes.clone());
    *again.lock().unwrap() = Some(home);
    assert!(task.run_here());
    assert_eq!(wakes.take(), 1);
    assert!(task.run_here());
    assert_eq!(wakes.take(), 0);
    again.lock().unwrap().take();
}

#[tokio::test]
async fn a_task_that_ends_while_the_host_runs_it_ends_for_the_runtime_too() {
    let polls = AtomicUsize::new(0);
    let mut home = Home::of(poll_fn(move |_| {
        if polls.fetch_add(1, Ordering::SeqCst) == 0 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }));
    assert!(home.poll().is_pending());
    assert!(home.task.run_here());
    assert_eq!(home.wakes.take(), 1);
    assert!(home.poll().is_ready());
}

/// Host and runtime hand one task to each other as fast as they can.
#[test]
fn no_wake_is_lost_between_two_threads() {
    const ROUNDS: usize = 100_000;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(AtomicUsize::new(0));
    let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
    let task = {
        let (asked, seen, waker) = (asked.clone(), seen.clone(), waker.clone());
        Task::new(poll_fn(move |cx| {
            *waker.lock().unwrap() = Some(cx.waker().clone());
            let now = asked.load(Ordering::SeqCst);
            seen.store(now, Ordering::SeqCst);
            if now == ROUNDS {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    };
    let running = runtime.spawn(task.clone().run());
    // Until the runtime has begun.
    while !task.run_here() {
        thread::yield_now();
    }
    let start = Arc::new(Barrier::new(2));
    let other = {
        let (asked, waker, start) = (asked.clone(), waker.clone(), start.clone());
        // What the network does.
        thread::spawn(move || {
            start.wait();
            for _ in 0..ROUNDS {
                asked.fetch_add(1, Ordering::SeqCst);
                let waker = waker.lock().unwrap().clone();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        })
    };
    start.wait();
    while asked.load(Ordering::SeqCst) < ROUNDS {
        task.run_here();
    }
    other.join().unwrap();
    let ended = async { tokio::time::timeout(Duration::from_secs(100), running).await };
    runtime.block_on(ended).expect("an end").expect("no panic");
    assert_eq!(seen.load(Ordering::SeqCst), ROUNDS);
}
