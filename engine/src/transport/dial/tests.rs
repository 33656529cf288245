use std::{cell::RefCell, future::pending};

use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};

use super::*;
use crate::testing::options;

const SOCKET: SocketOptions = SocketOptions {
    keep_alive: Duration::from_secs(60),
    user_timeout: Duration::from_secs(40),
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn v4(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 443))
}

fn v6(last: u16) -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 443))
}

/// What an address does with an attempt.
#[derive(Clone, Copy)]
enum Host {
    Answers(Duration),
    Refuses(Duration),
    /// Lets packets vanish.
    Swallows,
}
use Host::{Answers, Refuses, Swallows};

/// A network of 192.0.2.0, 192.0.2.1 and so on, with what happened on it.
struct Network {
    began: Instant,
    hosts: Vec<Host>,
    /// When the attempt on each host started, as far as one did.
    starts: RefCell<Vec<Duration>>,
    open: RefCell<usize>,
}

impl Network {
    fn of(hosts: &[Host]) -> Self {
        Self {
            began: Instant::now(),
            hosts: hosts.to_vec(),
            starts: RefCell::default(),
            open: RefCell::default(),
        }
    }

    /// Who won, or each error in order; and when that was certain.
    async fn race(&self) -> (result::Result<SocketAddr, Vec<String>>, Duration) {
        let addresses: Vec<_> = (0..self.hosts.len() as u8).map(v4).collect();
        let outcome = race(&addresses, |address| self.attempt(address))
            .await
            .map_err(|refusals| {
                refusals
                    .iter()
                    .map(|(address, error)| format!("{address} {error}"))
                    .collect()
            });
        (outcome, self.began.elapsed())
    }

    async fn attempt(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let index = self.starts.borrow().len();
        assert_eq!(address, v4(index as u8));
        self.starts.borrow_mut().push(self.began.elapsed());
        let _open = Open::new(&self.open);
        match self.hosts[index] {
            Answers(after) => {
                sleep(after).await;
                Ok(address)
            }
            Refuses(after) => {
                sleep(after).await;
                Err(io::Error::other(format!("refused by {index}")))
            }
            Swallows => pending().await,
        }
    }
}

struct Open<'a>(&'a RefCell<usize>);

impl<'a> Open<'a> {
    fn new(count: &'a RefCell<usize>) -> Self {
        *count.borrow_mut() += 1;
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        *self.0.borrow_mut() -= 1;
    }
}

#[test]
fn families_take_turns_from_that_of_the_first_address_and_no_address_comes_twice() {
    let cases: &[(&[SocketAddr], &[SocketAddr])] = &[
        (&[], &[]),
        (&[v4(1)], &[v4(1)]),
        (&[v4(1), v4(2)], &[v4(1), v4(2)]),
        (&[v6(1), v6(2), v4(1)], &[v6(1), v4(1), v6(2)]),
        (
            &[v6(1), v6(2), v6(3), v4(1), v4(2)],
            &[v6(1), v4(1), v6(2), v4(2), v6(3)],
        ),
        (&[v4(1), v6(1), v6(2), v6(3)], &[v4(1), v6(1), v6(2), v6(3)]),
        (&[v4(1), v4(1), v6(1), v4(2), v6(1)], &[v4(1), v6(1), v4(2)]),
    ];
    for (given, wanted) in cases {
        assert_eq!(interleaved(given), *wanted, "{given:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_answers_within_the_delay_is_the_only_one_tried() {
    let network = Network::of(&[Answers(ms(249)), Answers(ms(0))]);
    assert_eq!(network.race().await, (Ok(v4(0)), ms(249)));
    assert_eq!(*network.starts.borrow(), [ms(0)]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_refuses_delays_nothing() {
    let network = Network::of(&[Refuses(ms(0)), Answers(ms(0))]);
    assert_eq!(network.race().await, (Ok(v4(1)), ms(0)));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_swallows_packets_costs_the_delay_and_no_more() {
    let network = Network::of(&[Swallows, Answers(ms(0))]);
    assert_eq!(network.race().await, (Ok(v4(1)), ms(250)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_address_may_still_win_after_the_next_has_started() {
    let network = Network::of(&[Answers(ms(300)), Answers(ms(100))]);
    assert_eq!(network.race().await, (Ok(v4(0)), ms(300)));
    assert_eq!(*network.starts.borrow(), [ms(0), ms(250)]);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_starts_by_the_delay_or_by_a_failure_after_the_one_before_it() {
    let network = Network::of(&[Swallows, Refuses(ms(100)), Swallows, Answers(ms(0))]);
    assert_eq!(network.race().await, (Ok(v4(3)), ms(600)));
    assert_eq!(*network.starts.borrow(), [ms(0), ms(250), ms(350), ms(600)]);
}

#[tokio::test(start_paused = true)]
async fn the_last_address_may_take_its_time() {
    let network = Network::of(&[Refuses(ms(1_000)), Answers(ms(60_000))]);
    assert_eq!(network.race().await, (Ok(v4(1)), ms(60_250)));
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_each_error_is_known() {
    let network = Network::of(&[Refuses(ms(400)), Refuses(ms(0)), Refuses(ms(10))]);
    let errors = [
        "1:443 refused by 1",
        "2:443 refused by 2",
        "0:443 refused by 0",
    ];
    let errors = errors.map(|error| format!("192.0.2.{error}")).to_vec();
    assert_eq!(network.race().await, (Err(errors), ms(400)));
}

#[tokio::test(start_paused = true)]
async fn the_others_end_when_one_has_won() {
    let network = Network::of(&[Swallows, Swallows, Answers(ms(0))]);
    assert_eq!(network.race().await, (Ok(v4(2)), ms(500)));
    assert_eq!(*network.open.borrow(), 0);
}

#[tokio::test(start_paused = true)]
async fn all_end_when_the_caller_gives_up() {
    let network = Network::of(&[Swallows, Swallows, Swallows]);
    {
        let mut race = std::pin::pin!(network.race());
        assert!(timeout(ms(400), &mut race).await.is_err());
        assert_eq!(*network.open.borrow(), 2);
    }
    assert_eq!(*network.open.borrow(), 0);
}

#[test]
fn a_failure_names_the_peer_and_no_more_than_eight_addresses() {
    let refusals = |count| {
        (1..=count)
            .map(|last| (v4(last), io::Error::other("refused")))
            .collect::<Vec<_>>()
    };
    let failure_of = |count| failure("iot.example:443", &refusals(count));
    let two = failure_of(2);
    assert_eq!((two.code(), two.stage()), (Code::Tcp, Stage::Tcp));
    assert_eq!(
        two.message(),
        "no TCP connection to iot.example:443: 192.0.2.1:443: refused; 192.0.2.2:443: refused"
    );
    assert!(failure_of(8).message().ends_with("192.0.2.8:443: refused"));
    let ten = failure_of(10);
    let end = "192.0.2.8:443: refused; and 2 more";
    assert!(ten.message().ends_with(end), "{ten}");
}

#[test]
fn tcp_asks_no_oftener_than_mqtt_and_gives_up_after_the_link() {
    for (keep_alive, ping_timeout, wanted) in [
        (0.0, 10_000.0, (300, 340)),
        (5.0, 10_000.0, (15, 40)),
        (60.0, 30_000.0, (60, 40)),
        (1_200.0, 45_000.0, (1_200, 55)),
    ] {
        let options = options(|options| {
            options.limits = Some("none".to_owned());
            options.keep_alive_seconds = Some(keep_alive);
            options.ping_timeout_ms = Some(ping_timeout);
        });
        let (keep_alive, user_timeout) = wanted;
        let wanted = SocketOptions {
            keep_alive: Duration::from_secs(keep_alive),
            user_timeout: Duration::from_secs(user_timeout),
        };
        assert_eq!(SocketOptions::of(&options), wanted);
    }
}

#[tokio::test]
async fn a_connection_has_the_options_that_were_asked_for() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stream = connect(&[address], &SOCKET, "peer").await.unwrap();
    let socket = SockRef::from(&stream);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SOCKET.keep_alive);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), ms(10_000));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    }
    #[cfg(target_os = "linux")]
    assert_eq!(
        socket.tcp_user_timeout().unwrap(),
        Some(SOCKET.user_timeout)
    );
}

#[tokio::test]
async fn a_connection_comes_from_the_address_that_listens() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    // Bound and not listening: nobody else gets the port, and it refuses.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let refusing = socket.local_addr().unwrap();
    let stream = connect(&[refusing, address], &SOCKET, "peer").await;
    assert_eq!(stream.unwrap().peer_addr().unwrap(), address);
    let failure = connect(&[refusing], &SOCKET, "peer").await.unwrap_err();
    assert_eq!(failure.code(), Code::Tcp);
    let start = format!("no TCP connection to peer: {refusing}: ");
    assert!(failure.message().starts_with(&start), "{failure}");
}

/// Other systems refuse what finds the queue of a listener full.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_swallows_packets_does_not_keep_the_next_from_connecting() {
    use socket2::{Domain, Socket, Type};

    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.set_nonblocking(true).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    // Linux queues one more than this.
    full.listen(0).unwrap();
    let swallowing = full.local_addr().unwrap().as_socket().unwrap();
    let _queued = TcpStream::connect(swallowing).await.unwrap();
    // The queue is full once there is something to accept, which a stream of tokio tells and a listener does not.
    let full = TcpStream::from_std(full.into()).unwrap();
    full.readable().await.unwrap();

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stream = connect(&[swallowing, address], &SOCKET, "peer").await;
    assert_eq!(stream.unwrap().peer_addr().unwrap(), address);
}
