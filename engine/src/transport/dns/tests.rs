use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// How often a resolver was asked.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A resolver that counts when it is asked, not when it is made.
    fn asked<F: Future>(&self, resolve: F) -> impl Future<Output = F::Output> + use<F> {
        let count = self.clone();
        async move {
            count.0.fetch_add(1, Ordering::Relaxed);
            resolve.await
        }
    }
}

/// Answers with 10.0.0.`last` after a second.
async fn answer(last: u8) -> io::Result<Vec<SocketAddr>> {
    sleep(SECOND).await;
    Ok(vec![address(last, 0)])
}

async fn refuse() -> io::Result<Vec<SocketAddr>> {
    sleep(SECOND).await;
    Err(io::Error::other("no such name"))
}

fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], port))
}

#[track_caller]
fn assert_failed(answer: Answer, cause: &str) {
    let failure = answer.unwrap_err();
    assert_eq!(failure.code(), Code::Dns);
    assert_eq!(failure.stage(), Stage::Dns);
    let message = format!("the name iot.example does not resolve: {cause}");
    assert_eq!(failure.message(), message);
}

#[tokio::test(start_paused = true)]
async fn callers_at_the_same_time_share_one_lookup_whatever_their_port() {
    let (lookups, count) = (Lookups::default(), Count::default());
    let mut callers = JoinSet::new();
    for port in 1..=1_000 {
        let (lookups, resolve) = (lookups.clone(), count.asked(answer(1)));
        callers.spawn(async move { (port, lookups.ask("iot.example", port, resolve).await) });
    }
    for (port, answer) in callers.join_all().await {
        assert_eq!(answer.unwrap(), [address(1, port)]);
    }
    assert_eq!(count.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_after_the_answer_asks_anew() {
    let (lookups, count) = (Lookups::default(), Count::default());
    for last in 1..=3 {
        let resolve = count.asked(answer(last));
        let answer = lookups.ask("iot.example", 443, resolve).await;
        assert_eq!(answer.unwrap(), [address(last, 443)]);
    }
    assert_eq!(count.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_lookup_goes_on_when_the_caller_that_began_it_is_dropped() {
    let (lookups, count) = (Lookups::default(), Count::default());
    let (first, second) = tokio::join!(
        timeout(
            SECOND / 2,
            lookups.ask("iot.example", 443, count.asked(answer(1)))
        ),
        lookups.ask("iot.example", 443, count.asked(answer(2))),
    );
    assert!(first.is_err());
    assert_eq!(second.unwrap(), [address(1, 443)]);
    assert_eq!(count.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_is_asked_once_however_many_callers_give_up() {
    let (lookups, count) = (Lookups::default(), Count::default());
    for _ in 0..100 {
        let resolve = count.asked(pending());
        let asking = lookups.ask("iot.example", 443, resolve);
        assert!(timeout(SECOND, asking).await.is_err());
    }
    assert_eq!(count.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_names_are_two_lookups() {
    let (lookups, count) = (Lookups::default(), Count::default());
    let (first, second) = tokio::join!(
        lookups.ask("iot.example", 443, count.asked(answer(1))),
        lookups.ask("other.example", 443, count.asked(answer(2))),
    );
    assert_eq!(first.unwrap(), [address(1, 443)]);
    assert_eq!(second.unwrap(), [address(2, 443)]);
    assert_eq!(count.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_fails_fails_all_who_wait_and_no_one_after_them() {
    let (lookups, count) = (Lookups::default(), Count::default());
    let (first, second) = tokio::join!(
        lookups.ask("iot.example", 443, count.asked(refuse())),
        lookups.ask("iot.example", 443, count.asked(refuse())),
    );
    assert_failed(first, "no such name");
    assert_failed(second, "no such name");
    assert_eq!(count.get(), 1);
    let later = lookups.ask("iot.example", 443, count.asked(answer(1)));
    assert_eq!(later.await.unwrap(), [address(1, 443)]);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_panics_fails_all_who_wait_and_no_one_after_them() {
    let (lookups, count) = (Lookups::default(), Count::default());
    let panic = async || {
        sleep(SECOND).await;
        panic!("a resolver that panics on purpose")
    };
    let (first, second) = tokio::join!(
        lookups.ask("iot.example", 443, count.asked(panic())),
        lookups.ask("iot.example", 443, count.asked(panic())),
    );
    assert_failed(first, "the lookup was broken off");
    assert_failed(second, "the lookup was broken off");
    assert_eq!(count.get(), 1);
    let later = lookups.ask("iot.example", 443, count.asked(answer(1)));
    assert_eq!(later.await.unwrap(), [address(1, 443)]);
}

#[test]
fn a_lookup_that_ends_with_its_runtime_fails_who_waits_and_leaves_nothing() {
    let runtime = || runtime::Builder::new_current_thread().build().unwrap();
    let lookups = Lookups::default();
    let mut asking = pin!(lookups.ask("iot.example", 443, pending()));
    runtime().block_on(async {
        tokio::select! {
            biased;
            _ = &mut asking => panic!("answered"),
            () = tokio::task::yield_now() => {}
        }
    });
    assert_failed(runtime().block_on(asking), "the lookup was broken off");
    assert!(lookups.0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_name_without_an_address_does_not_resolve() {
    let resolve = async { Ok(Vec::new()) };
    let answer = Lookups::default().ask("iot.example", 443, resolve).await;
    assert_failed(answer, "it has no address");
}

#[tokio::test]
async fn an_address_needs_no_lookup() {
    for host in ["192.0.2.1", "2001:db8::1"] {
        let mut asking = pin!(lookup(host, 8_883));
        let answer = tokio::select! {
            biased;
            answer = &mut asking => answer.unwrap(),
            () = std::future::ready(()) => panic!("{host} is looked up"),
        };
        assert_eq!(answer, [SocketAddr::new(host.parse().unwrap(), 8_883)]);
    }
}

#[tokio::test]
async fn the_system_knows_this_machine() {
    let addresses = lookup("localhost", 8_883).await.unwrap();
    assert!(!addresses.is_empty());
    for address in addresses {
        assert!(address.ip().is_loopback());
        assert_eq!(address.port(), 8_883);
    }
}
