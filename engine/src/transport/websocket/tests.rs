use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::unconstrained,
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::{
    error::{Code, Stage},
    transport::breach,
};

/// What the other side may announce in these tests; no packet is larger.
const LIMIT: usize = MIN_RECEIVED_BYTES;

async fn over(stream: DuplexStream) -> WebSocket<DuplexStream> {
    WebSocket::new(stream, Vec::new(), 1_000).await
}

/// A WebSocket whose other side has sent these bytes, and that side.
async fn after(bytes: &[u8]) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(bytes).await.unwrap();
    (over(near).await, far)
}

/// What is read until the end, where the other side sends these bytes and goes.
async fn read_all(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let (mut client, far) = after(bytes).await;
    drop(far);
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.map(|_| read)
}

/// What is read of these bytes while the connection stays open, which would keep a reader waiting.
async fn error_after(bytes: &[u8]) -> io::Error {
    let (mut client, _far) = after(bytes).await;
    client.read_u8().await.unwrap_err()
}

/// A frame of a server, of up to 64 KiB.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(length as u8),
        length => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// The next frame of a client: its first byte and its payload.
async fn next_frame(stream: &mut DuplexStream) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.unwrap();
    let length = stream.read_u8().await.unwrap();
    assert_ne!(length & 0x80, 0, "a client masks");
    let length = match length & 0x7f {
        126 => stream.read_u16().await.unwrap().into(),
        127 => panic!("longer than a TLS record"),
        length => usize::from(length),
    };
    let mask = stream.read_u32().await.unwrap().to_be_bytes();
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
    (first, payload)
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One turn of a reader that finds nothing to read; gives whether it asks for another turn at once.
async fn turn(client: &mut WebSocket<DuplexStream>) -> bool {
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let turn = poll_fn(|_| {
        let mut cx = Context::from_waker(&waker);
        let mut bytes = [0; 100];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = Pin::new(&mut *client).poll_read(&mut cx, &mut buffer);
        assert!(read.is_pending(), "{read:?} {buffer:?}");
        Poll::Ready(())
    });
    // A task whose budget is used up asks for another turn, too.
    unconstrained(turn).await;
    count.0.load(Ordering::Relaxed) > 0
}

/// Writes zeros until no more are taken.
async fn write_until_full(client: &mut WebSocket<DuplexStream>) -> usize {
    let mut taken = 0;
    unconstrained(poll_fn(|cx| {
        while let Poll::Ready(count) = Pin::new(&mut *client).poll_write(cx, &[0; 1_000]) {
            taken += count.unwrap();
            assert!(taken < 10_000_000, "taken without end");
        }
        Poll::Ready(())
    }))
    .await;
    taken
}

#[tokio::test]
async fn a_frame_is_the_same_wherever_it_is_split() {
    let payload = [7; 130];
    let bytes = frame(BINARY, &payload);
    for at in 1..bytes.len() {
        let (near, mut far) = duplex(1_000);
        let (first, second) = bytes.split_at(at);
        let mut client = over(near).await;
        far.write_all(first).await.unwrap();
        assert!(!turn(&mut client).await, "{at}");
        far.write_all(second).await.unwrap();
        let mut read = [0; 130];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(read, payload, "{at}");
    }
}

#[tokio::test]
async fn what_came_behind_the_upgrade_is_read_first() {
    let (near, mut far) = duplex(1_000);
    far.write_all(b"i").await.unwrap();
    drop(far);
    let mut client = WebSocket::new(near, b"\x82\x02h".to_vec(), 1_000).await;
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"hi");
}

#[tokio::test]
async fn frames_need_not_line_up_with_what_is_in_them() {
    let bytes = [
        frame(BINARY, b"two packets, "),
        frame(BINARY, b"and a th"),
        frame(BINARY, b"ird"),
    ];
    assert_eq!(
        read_all(&bytes.concat()).await.unwrap(),
        b"two packets, and a third"
    );
}

#[tokio::test]
async fn a_message_may_be_read_in_parts() {
    let (mut client, _far) = after(&frame(BINARY, b"abcde")).await;
    for wanted in [b"ab", b"cd"] {
        let mut read = [0; 2];
        assert_eq!(client.read(&mut read).await.unwrap(), 2);
        assert_eq!(&read, wanted);
    }
    assert_eq!(client.read(&mut [0; 2]).await.unwrap(), 1);
}

#[tokio::test]
async fn fragments_of_a_message_belong_together_with_a_ping_between() {
    let bytes = [
        frame(0x02, b"a"),
        frame(0x00, b""),
        frame(PING, b"!"),
        frame(0x00, b"b"),
        frame(0x80, b"c"),
    ];
    let (mut client, _far) = after(&bytes.concat()).await;
    let mut read = [0; 3];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"abc");
}

#[tokio::test]
async fn empty_messages_are_no_end() {
    let mut bytes = frame(BINARY, b"").repeat(1_000);
    bytes.extend(frame(BINARY, b"x"));
    assert_eq!(read_all(&bytes).await.unwrap(), b"x");
}

#[tokio::test]
async fn a_message_of_a_mebibyte_is_taken_however_small_the_largest_packet_is() {
    let (near, mut far) = duplex(100_000);
    let mut client = over(near).await;
    let send = async {
        let head = [&[BINARY, 127][..], &(LIMIT as u64).to_be_bytes()].concat();
        far.write_all(&head).await.unwrap();
        far.write_all(&vec![7; LIMIT]).await.unwrap();
        drop(far);
    };
    let mut read = Vec::new();
    let (end, ()) = tokio::join!(client.read_to_end(&mut read), send);
    end.unwrap();
    assert_eq!(read.len(), LIMIT);
}

#[tokio::test]
async fn what_breaks_the_protocol_is_a_failure_that_says_how() {
    let announced = [&[BINARY, 127][..], &(LIMIT as u64 + 1).to_be_bytes()].concat();
    let largest = [&[BINARY, 127][..], &u64::MAX.to_be_bytes()].concat();
    let part = frame(0x02, &[0; 60_000]);
    let next = frame(0x00, &[0; 60_000]).repeat(LIMIT / 60_000);
    let fragments = [part, next].concat();
    for (bytes, words) in [
        (frame(0x81, b"text"), "text message"),
        (frame(0x81, b""), "text message"),
        (frame(0x81, b"\xff"), "UTF-8"),
        (b"\x82\x81\0\0\0\0x".to_vec(), "masked"),
        (frame(0xc2, b"x"), "eserved bits"),
        (frame(0x83, b"x"), "3"),
        (frame(0x8b, b"x"), "11"),
        (frame(0x80, b"x"), "ontinue"),
        (frame(PING, &[0; 126]), "ontrol frame"),
        (frame(0x09, b"x"), "ontrol frame"),
        (frame(CLOSE, b"x"), "lose"),
        (announced, "receive.maxBytes"),
        (largest, "receive.maxBytes"),
        (fragments, "receive.maxBytes"),
    ] {
        let (near, mut far) = duplex(100_000);
        let mut client = over(near).await;
        let send = async {
            // It may give up before it has read all.
            let _sent = far.write_all(&bytes).await;
            // The connection stays open.
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            biased;
            read = client.read_u8() => read.unwrap_err(),
            () = send => unreachable!(),
        };
        let failure = breach(&error, "iot.example:443").expect(words);
        let seen = (failure.code(), failure.stage());
        assert_eq!(seen, (Code::WebSocket, Stage::WebSocket));
        // A message that is too long for this side is no breach.
        let (start, told) = if words == "receive.maxBytes" {
            (
                "iot.example:443 sent a WebSocket message of ",
                failure.hint(),
            )
        } else {
            (
                "iot.example:443 broke the WebSocket protocol: ",
                failure.message(),
            )
        };
        assert!(failure.message().starts_with(start), "{failure}");
        assert!(told.contains(words), "{words}: {told}");
        assert!(!failure.hint().is_empty());
    }
}

#[tokio::test]
async fn what_came_before_the_breach_is_read() {
    let (mut client, _far) = after(&[frame(BINARY, b"x"), frame(0x81, b"")].concat()).await;
    assert_eq!(client.read_u8().await.unwrap(), b'x');
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn other_errors_are_no_breach() {
    for error in [
        io::Error::from(io::ErrorKind::InvalidData),
        io::Error::other("x"),
        io::Error::from(Closed {
            code: 1_000,
            reason: String::new(),
        }),
    ] {
        assert!(breach(&error, "x").is_none(), "{error:?}");
    }
}

#[tokio::test]
async fn a_ping_is_answered_while_there_is_nothing_to_read() {
    let (mut client, mut far) = after(&frame(PING, b"payload")).await;
    turn(&mut client).await;
    assert_eq!(next_frame(&mut far).await, (0x8a, b"payload".to_vec()));
}

#[tokio::test]
async fn pings_without_end_let_others_have_their_turn() {
    let (mut client, mut far) = after(&frame(PING, b"").repeat(1_000)).await;
    let mut turns = 0;
    while turn(&mut client).await {
        turns += 1;
    }
    assert_eq!(turns, 1_000 / CONTROL_FRAMES);
    far.write_all(&frame(BINARY, b"x")).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
}

/// A client whose other side has sent 20,000 pings and read no answer.
async fn flooded() -> (WebSocket<DuplexStream>, DuplexStream) {
    let (near, mut far) = duplex(1_024);
    let mut client = over(near).await;
    for number in 0..20_000_u32 {
        // The answers have 128 bytes, so that they leave no room for anything.
        let payload = [&number.to_be_bytes()[..], &[0; 118]].concat();
        far.write_all(&frame(PING, &payload)).await.unwrap();
        turn(&mut client).await;
    }
    (client, far)
}

#[tokio::test]
async fn pings_of_a_peer_that_reads_no_answers_take_no_memory_without_end() {
    let (mut client, mut far) = flooded().await;
    // What was kept comes out when it is read.
    let drain = async {
        let (mut answers, mut last) = (0, 0);
        while last != 19_999_u32 {
            let (first, payload) = next_frame(&mut far).await;
            assert_eq!(first, 0x8a);
            last = u32::from_be_bytes(payload[..4].try_into().unwrap());
            answers += 1;
        }
        answers
    };
    let answers = tokio::select! {
        biased;
        answers = drain => answers,
        read = client.read_u8() => panic!("{read:?}"),
    };
    assert!(answers * 128 < MAX_UNSENT_BYTES + 2_048, "{answers}");
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_to_its_pings_can_be_written_to_when_it_reads() {
    let (mut client, mut far) = flooded().await;
    assert_eq!(write_until_full(&mut client).await, 0);
    let sent = vec![7; 20_000];
    let write = async {
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
    };
    let read = async {
        let mut read = Vec::new();
        while read.len() < 20_000 {
            let (first, payload) = next_frame(&mut far).await;
            if first == BINARY {
                read.extend(payload);
            }
        }
        read
    };
    let ((), read) = tokio::join!(write, read);
    assert_eq!(read, sent);
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_to_its_pings_is_told_of_the_close_when_it_reads() {
    let (mut client, mut far) = flooded().await;
    let read = async {
        while next_frame(&mut far).await.0 != CLOSE {}
        Ok(())
    };
    tokio::try_join!(client.shutdown(), read).unwrap();
}

#[tokio::test]
async fn a_close_shows_code_and_reason_at_the_end_and_is_answered() {
    let bytes = [
        frame(BINARY, b"x"),
        frame(CLOSE, b"\x03\xf0go\r\n away\x1b!"),
    ];
    let (mut client, mut far) = after(&bytes.concat()).await;
    assert_eq!(client.read_u8().await.unwrap(), b'x');
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(error.to_string(), "WebSocket closed with 1008: go away!");
    let (first, payload) = next_frame(&mut far).await;
    assert_eq!((first, &payload[..2]), (CLOSE, &b"\x03\xf0"[..]));
}

#[tokio::test]
async fn a_close_without_a_reason_shows_its_code() {
    let error = error_after(&frame(CLOSE, b"\x03\xe8")).await;
    assert_eq!(error.to_string(), "WebSocket closed with 1000");
}

#[tokio::test]
async fn a_close_shows_code_and_reason_even_of_a_peer_that_has_gone() {
    let error = read_all(&frame(CLOSE, b"\x03\xe9bye")).await.unwrap_err();
    assert_eq!(error.to_string(), "WebSocket closed with 1001: bye");
}

#[tokio::test]
async fn a_close_without_a_code_is_a_plain_end_and_is_answered() {
    let (mut client, mut far) = after(&frame(CLOSE, b"")).await;
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.get_ref().is_none_or(|error| !error.is::<Closed>()));
    assert_eq!(next_frame(&mut far).await, (CLOSE, Vec::new()));
}

#[tokio::test]
async fn an_end_of_tcp_without_a_close_is_a_plain_end() {
    for bytes in [&b""[..], b"\x82", b"\x82\x05ab"] {
        assert_eq!(read_all(bytes).await.unwrap(), b"", "{bytes:?}");
    }
}

#[tokio::test]
async fn the_end_stays_the_end() {
    let (mut client, far) = after(&frame(CLOSE, b"\x03\xe8")).await;
    client.read_u8().await.unwrap_err();
    drop(far);
    for _ in 0..2 {
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn shutdown_sends_a_close_once_and_what_still_comes_is_read() {
    let (near, mut far) = duplex(1_000);
    let mut client = over(near).await;
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
    far.write_all(&[frame(BINARY, b"x"), frame(CLOSE, b"")].concat())
        .await
        .unwrap();
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"x");
    drop(client);
    assert_eq!(next_frame(&mut far).await, (BINARY, b"last".to_vec()));
    assert_eq!(next_frame(&mut far).await, (CLOSE, Vec::new()));
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn shutdown_after_a_close_of_the_other_side_succeeds() {
    let (mut client, _far) = after(&frame(CLOSE, b"\x03\xe8")).await;
    client.read_u8().await.unwrap_err();
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_write_after_a_close_of_either_side_fails() {
    let (mut client, _far) = after(&frame(CLOSE, b"\x03\xe8")).await;
    client.read_u8().await.unwrap_err();
    let error = client.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    let (mut client, _far) = after(b"").await;
    client.shutdown().await.unwrap();
    let error = client.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_write_to_a_peer_that_has_gone_fails_without_a_breach() {
    let (mut client, far) = after(b"").await;
    drop(far);
    let error = client.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(breach(&error, "x").is_none(), "{error:?}");
}

#[tokio::test]
async fn what_a_peer_said_before_it_went_is_read_after_a_write_has_failed() {
    let bytes = [frame(BINARY, b"x"), frame(CLOSE, b"\x03\xe8bye")];
    let (mut client, far) = after(&bytes.concat()).await;
    drop(far);
    client.write_all(b"y").await.unwrap_err();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.to_string(), "WebSocket closed with 1000: bye");
}

#[tokio::test]
async fn a_write_is_a_binary_frame() {
    let (mut client, mut far) = after(b"").await;
    for payload in [&b"a"[..], &[7; 300], &[8; MAX_SENT_FRAME_BYTES]] {
        client.write_all(payload).await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(next_frame(&mut far).await, (BINARY, payload.to_vec()));
    }
    drop(client);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_long_write_is_taken_in_frames_that_each_fit_a_tls_record() {
    let (mut client, mut far) = after(b"").await;
    let bytes: Vec<u8> = (0..40_000_u32).map(|index| index as u8).collect();
    client.write_all(&bytes).await.unwrap();
    client.flush().await.unwrap();
    let (mut read, mut lengths) = (Vec::new(), Vec::new());
    while read.len() < bytes.len() {
        let (first, payload) = next_frame(&mut far).await;
        assert_eq!(first, BINARY);
        lengths.push(payload.len());
        read.extend(payload);
    }
    assert_eq!(read, bytes);
    // With header and mask, a frame of the first length has 16 KiB.
    assert_eq!(lengths, [16 * 1024 - 8, 16 * 1024 - 8, 40_000 - 2 * 16_376]);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_not_written_to_without_end() {
    let (near, mut far) = duplex(1_024);
    let mut client = over(near).await;
    let taken = write_until_full(&mut client).await;
    assert!((1..20_000).contains(&taken), "{taken}");
    // It goes on when the peer reads.
    let read = async {
        let mut read = 0;
        while read < taken + 5_000 {
            read += next_frame(&mut far).await.1.len();
        }
    };
    let write = async {
        client.write_all(&[0; 5_000]).await.unwrap();
        client.flush().await.unwrap();
    };
    tokio::join!(read, write);
}

#[tokio::test]
async fn what_is_written_goes_on_without_a_flush_and_can_be_read_by_a_server_of_the_crate() {
    let (near, far) = duplex(1_024);
    let mut client = over(near).await;
    let mut server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let mut next = async || poll_fn(|cx| Pin::new(&mut server).poll_next(cx)).await;
    client.write_all(b"x").await.unwrap();
    let message = next().await.unwrap().unwrap();
    assert_eq!(message, Message::Binary(Bytes::from_static(b"x")));
    client.shutdown().await.unwrap();
    assert_eq!(next().await.unwrap().unwrap(), Message::Close(None));
    assert!(next().await.is_none());
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[test]
fn a_close_is_shown_with_the_number_of_its_code() {
    let closed = Closed::from(CloseFrame {
        code: CloseCode::Library(4_000),
        reason: "why".into(),
    });
    assert_eq!(closed.to_string(), "WebSocket closed with 4000: why");
}

#[test]
fn a_code_that_the_crate_replaces_is_not_shown_as_the_servers_own() {
    let closed = Closed::from(CloseFrame {
        code: CloseCode::Protocol,
        reason: "Protocol violation".into(),
    });
    assert!(closed.to_string().contains("not defined"), "{closed}");
}
