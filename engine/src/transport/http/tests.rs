use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncWriteExt, ReadBuf, duplex},
    time::Instant,
};

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 403 Not Allowed\r\nServer: x\r\nConnection: keep-alive, Upgrade\r\nconnection:\tclose \r\nContent-Length: 4\r\n\r\n";

async fn read(mut bytes: &[u8]) -> Result<(Response, Vec<u8>), NoResponse> {
    Response::read(&mut bytes).await
}

/// An answer whose reason phrase is `reason`.
async fn with_reason(reason: &str) -> Response {
    let head = format!("HTTP/1.1 400 {reason}\r\n\r\n");
    read(head.as_bytes()).await.unwrap().0
}

/// What is shown of a body that ends with the connection.
async fn shown_body(body: &[u8], secrets: &[&str]) -> Option<String> {
    let (response, rest) = read(b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
    response.body(&mut &body[..], rest, secrets).await
}

/// A head of `length` bytes in one header.
fn head_of(length: usize) -> Vec<u8> {
    let (start, end) = ("HTTP/1.1 200 OK\r\nA: ", "\r\n\r\n");
    let value = "a".repeat(length - start.len() - end.len());
    [start, &value, end].concat().into_bytes()
}

fn headers(count: usize) -> Vec<u8> {
    let headers: String = (0..count).map(|index| format!("h{index}: v\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes()
}

/// A connection that breaks.
struct Broken(io::ErrorKind);

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(self.0.into()))
    }
}

#[tokio::test]
async fn an_answer_is_the_same_wherever_it_is_split() {
    let whole = read(ANSWER).await.unwrap();
    for at in 1..ANSWER.len() {
        let (first, second) = ANSWER.split_at(at);
        let split = Response::read(&mut first.chain(second)).await.unwrap();
        assert_eq!(split, whole, "{at}");
    }
}

#[tokio::test]
async fn an_answer_may_come_byte_by_byte() {
    let (mut near, mut far) = duplex(1);
    let (answered, sent) = tokio::join!(Response::read(&mut near), far.write_all(ANSWER));
    sent.unwrap();
    assert_eq!(answered.unwrap(), read(ANSWER).await.unwrap());
}

#[tokio::test]
async fn what_comes_behind_the_head_is_given_back() {
    let (_, rest) = read(&[ANSWER, b"\x82\x01x\r\n\r\n"].concat())
        .await
        .unwrap();
    assert_eq!(rest, b"\x82\x01x\r\n\r\n");
}

#[tokio::test]
async fn a_head_of_16_kib_is_taken() {
    let (response, _) = read(&head_of(MAX_HEAD_BYTES)).await.unwrap();
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn a_head_beyond_16_kib_is_too_long() {
    let head = head_of(MAX_HEAD_BYTES + 1);
    assert!(matches!(read(&head).await, Err(NoResponse::TooLong)));
}

#[tokio::test]
async fn a_line_without_end_is_read_no_further_than_16_kib() {
    for (start, then) in [
        ("HTTP/1.1 200 ", b'a'),
        ("HTTP/1.1 200 OK\r\nA: ", b'a'),
        ("HTTP/1.1 200 OK\r\nA", b'a'),
        ("", b'\n'),
    ] {
        let sent = [start.as_bytes(), &vec![then; 2 * MAX_HEAD_BYTES]].concat();
        let mut bytes = &sent[..];
        let outcome = Response::read(&mut bytes).await;
        assert!(matches!(outcome, Err(NoResponse::TooLong)), "{start}");
        assert_eq!(sent.len() - bytes.len(), MAX_HEAD_BYTES, "{start}");
    }
}

#[tokio::test]
async fn a_hundred_headers_are_taken_and_no_more() {
    let (response, _) = read(&headers(100)).await.unwrap();
    assert_eq!(response.all("h99").collect::<Vec<_>>(), ["v"]);
    let outcome = read(&headers(101)).await;
    assert!(matches!(outcome, Err(NoResponse::TooLong)));
}

#[tokio::test]
async fn what_is_no_http_is_seen_without_waiting_for_more() {
    for garbage in [
        &b"SSH-2.0-x\r\n"[..],
        b"\x15\x03\x03\0\x02\x02\x28",
        b"\x05\x00\0\0\0\0\0\0",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
    ] {
        let (mut near, mut far) = duplex(1_000);
        far.write_all(garbage).await.unwrap();
        let outcome = Response::read(&mut near).await;
        assert!(matches!(outcome, Err(NoResponse::NotHttp)), "{garbage:?}");
    }
}

#[tokio::test]
async fn an_end_before_the_end_of_the_head_is_a_close() {
    for length in 0..ANSWER.len() {
        let outcome = read(&ANSWER[..length]).await;
        assert!(matches!(outcome, Err(NoResponse::Closed)), "{length}");
    }
}

#[tokio::test]
async fn an_end_without_tls_close_notify_is_a_close() {
    let mut stream = ANSWER[..9].chain(Broken(io::ErrorKind::UnexpectedEof));
    let outcome = Response::read(&mut stream).await;
    assert!(matches!(outcome, Err(NoResponse::Closed)));
}

#[tokio::test]
async fn a_connection_that_breaks_tells_how() {
    let mut stream = ANSWER[..9].chain(Broken(io::ErrorKind::ConnectionReset));
    match Response::read(&mut stream).await {
        Err(NoResponse::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_list_holds_its_words_over_several_headers_in_any_case() {
    let (response, _) = read(ANSWER).await.unwrap();
    for word in ["upgrade", "Keep-Alive", "CLOSE"] {
        assert!(response.lists("CONNECTION", word), "{word}");
    }
    for (name, word) in [
        ("connection", "keep"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "upgrade"),
    ] {
        assert!(!response.lists(name, word), "{name}: {word}");
    }
}

#[tokio::test]
async fn a_header_that_is_no_text_is_left_out() {
    let (response, _) = read(b"HTTP/1.1 200 OK\r\na: \xff\r\na: b\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(response.all("a").collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn a_status_is_shown_with_its_reason_where_there_is_one() {
    assert_eq!(
        with_reason("Bad\tthing").await.status_line(&[]),
        "400 Bad thing"
    );
    assert_eq!(with_reason("").await.status_line(&[]), "400");
    let (response, _) = read(b"HTTP/1.0 407\r\n\r\n").await.unwrap();
    assert_eq!(response.status_line(&[]), "407");
}

#[tokio::test]
async fn a_reason_is_shown_up_to_200_characters() {
    let shown = with_reason(&"a".repeat(9_000)).await.status_line(&[]);
    assert_eq!(shown, format!("400 {}", "a".repeat(200)));
}

#[tokio::test]
async fn a_body_is_shown_on_one_line_without_control_characters() {
    let shown = shown_body(b" <p>\r\n\tWhy\x1b[31m\0 not?\x7f\xc2\x85</p> \xff\n", &[]).await;
    assert_eq!(shown.as_deref(), Some("<p> Why [31m not? </p> \u{fffd}"));
}

#[tokio::test]
async fn a_body_is_shown_up_to_200_characters() {
    let shown = shown_body("ä".repeat(400).as_bytes(), &[]).await;
    assert_eq!(shown, Some("ä".repeat(200)));
}

#[tokio::test]
async fn nothing_is_shown_of_an_empty_body() {
    assert_eq!(shown_body(b"", &[]).await, None);
    assert_eq!(shown_body(b"\r\n \0", &[]).await, None);
}

#[tokio::test]
async fn a_body_ends_where_its_length_says() {
    let (response, rest) = read(ANSWER).await.unwrap();
    // The other side keeps the connection open: what is read beyond would wait.
    let (mut near, mut far) = duplex(100);
    far.write_all(b"bodynext").await.unwrap();
    let body = response.body(&mut near, rest, &[]).await;
    assert_eq!(body.as_deref(), Some("body"));
}

#[tokio::test]
async fn a_body_that_came_with_the_head_ends_where_its_length_says() {
    let (response, rest) = read(&[ANSWER, b"bodynext"].concat()).await.unwrap();
    let body = response.body(&mut tokio::io::empty(), rest, &[]).await;
    assert_eq!(body.as_deref(), Some("body"));
}

#[tokio::test]
async fn no_more_than_1_kib_is_read_of_a_body() {
    for length in [
        "",
        "Content-Length: 9999999999\r\n",
        "Content-Length: x\r\n",
    ] {
        let head = format!("HTTP/1.1 400 Bad\r\n{length}\r\n");
        let (response, rest) = read(&[head.as_bytes(), b"a"].concat()).await.unwrap();
        let body = vec![b' '; 5_000];
        let mut stream = &body[..];
        assert_eq!(
            response.body(&mut stream, rest, &[]).await.as_deref(),
            Some("a")
        );
        assert_eq!(body.len() - stream.len(), MAX_BODY_BYTES - 1, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_waited_for_a_second_and_shown_as_far_as_it_came() {
    let (response, _) = read(b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
    let (mut near, mut far) = duplex(100);
    far.write_all(b"so far").await.unwrap();
    let began = Instant::now();
    let body = response.body(&mut near, b"And ".to_vec(), &[]).await;
    assert_eq!(body.as_deref(), Some("And so far"));
    assert_eq!(began.elapsed(), BODY_PATIENCE);
}

#[tokio::test]
async fn a_body_is_shown_as_far_as_it_came_before_the_connection_broke() {
    let (response, _) = read(b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
    let mut stream = b"so far".chain(Broken(io::ErrorKind::ConnectionReset));
    let body = response.body(&mut stream, Vec::new(), &[]).await;
    assert_eq!(body.as_deref(), Some("so far"));
}

/// A secret, and texts that repeat it.
const REPEATED: &[(&str, &[&str])] = &[
    (
        "to/ken+42=secret",
        &[
            "bad to/ken+42=secret.",
            "bad to%2Fken%2B42%3Dsecret.",
            "bad to&#47;ken&#43;42&#x3d;secret.",
            "only secret.",
        ],
    ),
    // Without four letters or digits in a row.
    (
        "a&b<c d\"e",
        &[
            "bad a&b<c d\"e.",
            "bad a%26b%3Cc%20d%22e.",
            "bad a%26b%3cc+d%22e.",
            "bad a&amp;b&lt;c d&quot;e.",
            "bad a&b<c d\\\"e.",
        ],
    ),
    (
        "müß'ö",
        &["bad müß'ö.", "bad m%C3%BC%C3%9F'%C3%B6.", "müß&#39;ö"],
    ),
    ("x%y", &["x%y", "x%25y"]),
    ("abc", &["it is abc."]),
    // Shortened by the other side.
    (
        "0123456789abcdefghijklmnopqrstuvwxyz",
        &[
            "bad token 0123456789abcdef...",
            "...klmnopqrstuvwxyz is bad",
            "bad token 01234",
        ],
    ),
];

#[tokio::test]
async fn a_body_that_repeats_a_secret_is_left_out() {
    for (secret, texts) in REPEATED {
        for text in *texts {
            let shown = shown_body(text.as_bytes(), &["other-secret", secret]).await;
            assert_eq!(shown, None, "{secret}: {text}");
        }
    }
}

#[tokio::test]
async fn a_reason_that_repeats_a_secret_is_left_out() {
    let status = with_reason("no to%2Fken%2B42%3Dsecret").await;
    assert_eq!(status.status_line(&["to/ken+42=secret"]), "400");
}

#[tokio::test]
async fn a_secret_that_the_end_of_a_body_cuts_off_is_left_out() {
    // White space is not shown, so that the end of the first KiB could be.
    let body = format!("{}token-secret", " ".repeat(MAX_BODY_BYTES - 4));
    assert_eq!(shown_body(body.as_bytes(), &["token"]).await, None);
}

#[tokio::test]
async fn words_that_a_secret_happens_to_share_letters_with_are_shown() {
    let text = "Unauthorized: a bad token";
    for secret in ["", "MyCustomAuthorizer", "t o", "ken-42", "authorizer"] {
        let shown = shown_body(text.as_bytes(), &[secret]).await;
        assert_eq!(shown.as_deref(), Some(text), "{secret}");
    }
}

#[tokio::test]
async fn an_interim_answer_is_passed_over() {
    let (response, rest) = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest")
        .await
        .unwrap();
    assert_eq!((response.status, rest.as_slice()), (200, &b"rest"[..]));
}

#[tokio::test]
async fn interim_answers_without_end_are_too_long() {
    let answer = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100);
    assert!(matches!(read(&answer).await, Err(NoResponse::TooLong)));
}

#[tokio::test]
async fn of_a_body_in_chunks_the_first_is_shown_without_its_size() {
    let head = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (response, rest) = read(head).await.unwrap();
    let mut body = &b"9\r\nForbidden\r\n0\r\n\r\n"[..];
    let shown = response.body(&mut body, rest, &[]).await;
    assert_eq!(shown.as_deref(), Some("Forbidden"));
}
