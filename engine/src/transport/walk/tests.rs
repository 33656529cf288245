#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{net::Ipv4Addr, sync::Arc};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::testing::options;

/// Linux answers nothing where nobody accepts and the queue is full.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn after_waiting_for_a_silent_address_the_road_goes_on_over_a_fresh_connection() {
    let good = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let silent = silent.listen(0).unwrap();
    let addresses = [silent.local_addr().unwrap(), good.local_addr().unwrap()];
    let _in_the_queue = TcpStream::connect(addresses[0]).await.unwrap();

    let options = Arc::new(options(|options| {
        options.connect_timeout_ms = Some(2_400.0)
    }));
    let deadline = Deadline::of_attempt(&options);
    let sockets = dial::SocketOptions::of(&options);
    let mut passages = Vec::new();
    let socket = Transport::new(options)
        .walk_addresses(&addresses, &sockets, &deadline, &mut |passage| {
            passages.push(passage);
        })
        .await
        .unwrap();

    let (_old, first) = good.accept().await.unwrap();
    let (_new, second) = good.accept().await.unwrap();
    let Either::Left(tcp) = socket else {
        panic!("not TCP");
    };
    assert_ne!(first, second);
    assert_eq!(tcp.local_addr().unwrap(), second);
    let unanswered = format!("no TCP connection to {}: no answer within ", addresses[0]);
    let failure = passages[0].failure.as_ref().unwrap();
    assert!(failure.message().starts_with(&unanswered), "{failure}");
    assert!(passages[1].failure.is_none());
}
