use super::*;
use crate::{
    authorizer::{Credentials, Login},
    commands::{self, Receiver},
    options::{ConnectOptions, WebSocketOptions},
    testing::options,
    wire::{ConnAck, Inbound, Version, next_frame, read},
};

fn handle(change: impl FnOnce(&mut ConnectOptions)) -> (Handle, Receiver) {
    let options = Arc::new(options(change));
    let shared = Arc::new(Shared::new(options.queue));
    let (sender, receiver) = commands::queue();
    (Handle::new(options, shared, sender, None), receiver)
}

fn granted(properties: &[u8]) -> Handle {
    let (handle, _) = handle(|_| {});
    let length = properties.len() as u8;
    let bytes = [&[0x20, 3 + length, 0, 0, length], properties].concat();
    let frame = next_frame(&bytes, usize::MAX).unwrap().unwrap();
    let Ok(Inbound::ConnAck(connack)) = read(Version::V5, &frame) else {
        panic!("no CONNACK")
    };
    let connack: &ConnAck = &connack;
    handle.shared().grant(connack);
    handle
}

fn filter(text: &str, qos: u8) -> Filter {
    Filter {
        filter: text.into(),
        id: 0,
        qos,
    }
}

/// How many commands were sent.
fn sent(commands: &mut Receiver) -> usize {
    commands.try_recv().len()
}

#[test]
fn what_cannot_be_published_is_refused_and_takes_no_room() {
    let (mut handle, mut commands) = handle(|_| {});
    let large = vec![0; 128 * 1024 + 1];
    for (topic, payload, qos, code) in [
        ("a/+", &[][..], 1, Code::InvalidTopic),
        ("a/b/c/d/e/f/g/h/i", &[], 1, Code::InvalidTopic),
        ("", &[], 1, Code::InvalidTopic),
        ("t", &large, 1, Code::PayloadTooLarge),
        ("t", &[], 2, Code::Limit),
        ("t", &[], 3, Code::Limit),
    ] {
        let failure = handle.publish(1, topic, payload, qos, false).unwrap_err();
        assert_eq!(failure.code(), code, "{topic}");
        assert_eq!(failure.stage(), Stage::Operation);
    }
    assert_eq!(handle.shared().budget.messages(), 0);
    handle.flush();
    assert_eq!(sent(&mut commands), 0);
}

#[test]
fn the_largest_payload_of_iot_core_is_accepted() {
    let (mut handle, _) = handle(|_| {});
    assert!(
        handle
            .publish(1, "t", &vec![0; 128 * 1024], 1, false)
            .is_ok()
    );
}

#[test]
fn what_the_server_does_not_grant_is_refused() {
    let mut no_qos_1 = granted(b"\x24\x00");
    let failure = no_qos_1.publish(1, "t", b"", 1, false).unwrap_err();
    assert_eq!(failure.code(), Code::Limit);
    assert!(no_qos_1.publish(1, "t", b"", 0, false).is_ok());
    let mut no_retain = granted(b"\x25\x00");
    let failure = no_retain.publish(1, "t", b"", 1, true).unwrap_err();
    assert_eq!(failure.code(), Code::Limit);
    assert!(no_retain.publish(1, "t", b"", 1, false).is_ok());
    let mut small = granted(b"\x27\x00\x00\x00\x14");
    // 1 byte of type, 1 of length, 3 of topic, 2 of packet id, 1 of properties.
    let failure = small.publish(1, "t", &[0; 13], 1, false).unwrap_err();
    assert_eq!(failure.code(), Code::PayloadTooLarge);
    assert!(small.publish(1, "t", &[0; 12], 1, false).is_ok());
}

#[test]
fn filters_are_checked_before_anything_is_accepted() {
    let (mut handle, _) = handle(|_| {});
    for (filters, code) in [
        (vec![], Code::InvalidTopic),
        (vec![filter("a", 1), filter("a#", 1)], Code::InvalidTopic),
        (vec![filter("a", 1), filter("b", 2)], Code::Limit),
        (
            (0..1_001).map(|_| filter("a", 1)).collect(),
            Code::InvalidTopic,
        ),
    ] {
        assert_eq!(handle.subscribe(1, filters).unwrap_err().code(), code);
    }
    let failure = handle.unsubscribe(1, Vec::new()).unwrap_err();
    assert_eq!(failure.code(), Code::InvalidTopic);
    assert_eq!(handle.shared().budget.messages(), 0);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let (mut handle, _) = handle(|options| options.queue_max_messages = Some(2.0));
    handle.publish(1, "t", b"", 1, false).unwrap();
    handle.subscribe(2, vec![filter("a", 1)]).unwrap();
    let refused = [
        handle.publish(3, "t", b"", 1, false),
        handle.subscribe(3, vec![filter("a", 1)]),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().code(), Code::QueueFull);
    }
}

#[test]
fn a_full_queue_keeps_nobody_from_unsubscribing() {
    let (mut handle, _) = handle(|options| options.queue_max_messages = Some(1.0));
    handle.subscribe(1, vec![filter("a", 1)]).unwrap();
    handle.unsubscribe(2, vec!["a".into()]).unwrap();
    assert_eq!(
        handle.publish(3, "t", b"", 1, false).unwrap_err().code(),
        Code::QueueFull
    );
}

#[test]
fn commands_leave_together_and_not_too_many_at_a_time() {
    let (mut handle, mut commands) = handle(|_| {});
    for token in 0..300 {
        handle.publish(token, "t", b"", 1, false).unwrap();
    }
    assert_eq!(sent(&mut commands), 256);
    handle.flush();
    assert_eq!(sent(&mut commands), 44);
    handle.flush();
    assert_eq!(sent(&mut commands), 0);
}

#[test]
fn a_host_that_asks_for_nothing_holds_no_list() {
    let (mut handle, _receiver) = handle(|_| {});
    handle.publish(1, "t", b"", 1, false).unwrap();
    handle.flush();
    assert_eq!(handle.batch.capacity(), 0);
}

#[test]
fn large_commands_leave_sooner() {
    let (mut handle, mut commands) = handle(|_| {});
    for token in 0..3 {
        handle.publish(token, "t", &[0; 30_000], 1, false).unwrap();
    }
    assert_eq!(sent(&mut commands), 3);
}

#[test]
fn a_withdrawal_and_the_end_wait_for_no_flush() {
    let (mut handle, mut commands) = handle(|_| {});
    handle.publish(1, "t", b"", 1, false).unwrap();
    handle.withdraw(1);
    assert_eq!(sent(&mut commands), 2);
    handle.disconnect(Duration::ZERO);
    assert_eq!(sent(&mut commands), 1);
}

/// What a login answers that `credentials` gave, over WebSocket.
fn answered(carrier: &str, given: Credentials) -> Result<Arc<Login>> {
    let (mut handle, mut commands) = handle(|options| {
        options.asks_credentials = true;
        options.credentials.authorizer_name = Some("Fixed".to_owned());
        options.credentials.token_key_name = Some("tok".to_owned());
        options.transport = Some("websocket".to_owned());
        options.websocket = Some(WebSocketOptions {
            credentials_in: Some(carrier.to_owned()),
            ..Default::default()
        });
    });
    handle.credentials(1, Ok(given), None);
    let Some(Command::Credentials { answer, .. }) = commands.try_recv().pop() else {
        panic!("no answer")
    };
    answer.map(|answer| answer.login)
}

fn fresh(token: &str) -> Credentials {
    Credentials {
        username: Some("user".to_owned()),
        password: Some(b"pass".to_vec()),
        token_value: Some(token.to_owned()),
        token_signature: Some("ab-_cw".to_owned()),
        ..Default::default()
    }
}

#[test]
fn fresh_credentials_travel_where_the_options_say() {
    for carrier in ["query", "headers"] {
        let login = answered(carrier, fresh("t t")).unwrap();
        assert_eq!(login.user_name.as_deref(), Some("user"), "{carrier}");
        assert_eq!(login.password.as_deref(), Some(&b"pass"[..]), "{carrier}");
        let upgrade = login.upgrade.as_ref().unwrap();
        let headers = upgrade.headers.iter();
        let written: String = headers
            .map(|(name, value)| format!("{name}={value};"))
            .collect();
        let (target, expected) = match carrier {
            "query" => (
                "/mqtt?x-amz-customauthorizer-name=Fixed&x-amz-customauthorizer-signature=ab%2B%2Fcw%3D%3D&tok=t%20t",
                "",
            ),
            _ => (
                "/mqtt",
                "x-amz-customauthorizer-name=Fixed;x-amz-customauthorizer-signature=ab+/cw==;tok=t t;",
            ),
        };
        assert_eq!((&*upgrade.target, &*written), (target, expected));
    }
}

#[test]
fn fresh_credentials_that_cannot_travel_keep_their_hint_and_show_nothing() {
    let Err(failure) = answered("headers", fresh("s3cr3t\r\n")) else {
        panic!("accepted")
    };
    assert_eq!(failure.code(), Code::Credentials);
    assert!(failure.message().contains("tokenValue"), "{failure}");
    assert!(failure.hint().contains("credentialsIn"), "{failure:?}");
    assert!(!format!("{failure:?}").contains("s3cr3t"), "{failure:?}");
}
