use std::{future::Future, time::Duration};

use rcgen::CertificateParams;
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    net::TcpStream,
    sync::oneshot,
    time,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    deadline::Deadline,
    options::{Options, ProxyOptions},
    testing::{self, Endpoint, options},
    transport::{Transport, alpn_protocol},
};

const TARGET: &str = "iot.example:443";
const LOGIN: (&str, &str) = ("us?r-name", "pässwörd-secret");

fn with_proxy(scheme: &str, port: u16, login: Option<(&str, &str)>) -> Options {
    options(|options| {
        options.proxy = Some(ProxyOptions {
            scheme: scheme.to_owned(),
            host: "localhost".to_owned(),
            port: Some(port.into()),
            username: login.map(|(name, _)| name.to_owned()),
            password: login.map(|(_, password)| password.to_owned()),
        });
    })
}

fn proxy(login: Option<(&str, &str)>) -> Proxy {
    *with_proxy("http", 3_128, login).proxy.unwrap()
}

/// Reads a head, byte by byte so that nothing behind it is lost.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// What is asked of a proxy that answers `answer` and closes, and what comes of it.
async fn connect(
    target: &str,
    login: Option<(&str, &str)>,
    answer: &[u8],
) -> (String, Result<DuplexStream>) {
    let (mut near, mut far) = duplex(100_000);
    let proxy = proxy(login);
    let client = async {
        http_connect(&mut near, &proxy, target).await?;
        Ok(near)
    };
    let server = async {
        let request = read_head(&mut far).await;
        far.write_all(answer).await.unwrap();
        drop(far);
        request
    };
    let (opened, request) = tokio::join!(client, server);
    (request, opened)
}

/// The failure over an answer.
async fn refusal(login: Option<(&str, &str)>, answer: &[u8]) -> Failure {
    let (_, opened) = connect(TARGET, login, answer).await;
    opened.expect_err("a refusal")
}

fn assert_refusal(failure: &Failure, code: Code, message: &str) {
    let seen = (failure.code(), failure.stage(), failure.message());
    assert_eq!(seen, (code, Stage::Proxy, message), "{failure:?}");
    assert!(!failure.hint().is_empty(), "{failure:?}");
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_endpoint() {
    let (request, opened) = connect(TARGET, None, b"HTTP/1.1 200 OK\r\n\r\n").await;
    opened.unwrap();
    let wanted = "CONNECT iot.example:443 HTTP/1.1\r\nHost: iot.example:443\r\n\r\n";
    assert_eq!(request, wanted);
}

#[tokio::test]
async fn an_address_of_ipv6_is_asked_for_in_brackets() {
    let target = Authority("2001:db8::1", 8_883).to_string();
    let (request, _) = connect(&target, None, b"HTTP/1.1 200 OK\r\n\r\n").await;
    let wanted = "CONNECT [2001:db8::1]:8883 HTTP/1.1\r\nHost: [2001:db8::1]:8883\r\n\r\n";
    assert_eq!(request, wanted);
}

#[tokio::test]
async fn a_proxy_is_given_the_login() {
    for (login, encoded) in [
        (LOGIN, "dXM/ci1uYW1lOnDDpHNzd8O2cmQtc2VjcmV0"),
        (("user", ""), "dXNlcjo="),
        (("", "a:b"), "OmE6Yg=="),
    ] {
        let (request, _) = connect(TARGET, Some(login), b"HTTP/1.1 200 OK\r\n\r\n").await;
        let wanted = format!(
            "CONNECT iot.example:443 HTTP/1.1\r\nHost: iot.example:443\r\nProxy-Authorization: Basic {encoded}\r\n\r\n"
        );
        assert_eq!(request, wanted);
    }
}

#[tokio::test]
async fn any_status_of_success_opens_the_way() {
    for answer in [
        "HTTP/1.0 200 Connection established\r\n\r\n",
        "HTTP/1.1 200\r\nVia: proxy\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 204 \r\n\r\n",
    ] {
        let (_, opened) = connect(TARGET, None, answer.as_bytes()).await;
        opened.expect(answer);
    }
}

#[tokio::test]
async fn what_the_endpoint_says_after_the_answer_is_kept() {
    let (near, far) = duplex(100);
    let (mut near, mut far) = (near, far);
    let proxy = proxy(None);
    let server = async {
        read_head(&mut far).await;
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    };
    let (opened, ()) = tokio::join!(http_connect(&mut near, &proxy, TARGET), server);
    opened.unwrap();
    far.write_all(b"x").await.unwrap();
    assert_eq!(near.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_refusal_names_proxy_target_and_status() {
    for status in ["403 Forbidden", "502 Bad Gateway", "302 Found", "500"] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno");
        let failure = refusal(None, answer.as_bytes()).await;
        let message = format!(
            "the proxy http://localhost:3128 refused to connect to iot.example:443: HTTP {status}"
        );
        assert_refusal(&failure, Code::Proxy, &message);
    }
}

#[tokio::test]
async fn a_proxy_that_wants_a_login_where_none_is_given() {
    for challenge in ["", "Proxy-Authenticate: Basic realm=\"x\"\r\n"] {
        let answer = format!(
            "HTTP/1.1 407 Proxy Authentication Required\r\n{challenge}Connection: close\r\n\r\n"
        );
        let failure = refusal(None, answer.as_bytes()).await;
        let message =
            "the proxy http://localhost:3128 wants a user name and password, and none are given";
        assert_refusal(&failure, Code::ProxyAuth, message);
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_accept_the_login() {
    let challenges =
        "Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: BASIC realm=\"x\"\r\n\r\n";
    for status in ["407 No", "401 Unauthorized"] {
        let answer = format!("HTTP/1.1 {status}\r\n{challenges}");
        let failure = refusal(Some(LOGIN), answer.as_bytes()).await;
        let message = "the proxy http://localhost:3128 did not accept the user name and password it was given";
        assert_refusal(&failure, Code::ProxyAuth, message);
    }
}

#[tokio::test]
async fn a_proxy_that_offers_other_logins_than_basic_alone() {
    for (challenges, names) in [
        ("Proxy-Authenticate: NTLM\r\n", "NTLM"),
        (
            "Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM TlRMTVNTUAAC==\r\n",
            "Negotiate or NTLM",
        ),
        (
            "Proxy-Authenticate: Negotiate, NTLM\r\n",
            "Negotiate or NTLM",
        ),
        (
            "Proxy-Authenticate: Digest realm=\"to Basic, Basic too\", qop=\"auth\", nonce=\"x\"\r\n",
            "Digest",
        ),
    ] {
        for login in [None, Some(LOGIN)] {
            let answer = format!("HTTP/1.1 407 No\r\n{challenges}\r\n");
            let failure = refusal(login, answer.as_bytes()).await;
            let message = format!(
                "the proxy http://localhost:3128 wants a login by {names}, which is not supported; Basic is"
            );
            assert_refusal(&failure, Code::ProxyAuth, &message);
            for name in ["NTLM", "Kerberos"] {
                assert!(failure.hint().contains(name), "{failure:?}");
            }
        }
    }
}

#[tokio::test]
async fn basic_counts_wherever_it_stands_in_a_list_of_logins() {
    for challenge in [
        "Negotiate, Basic realm=\"x\"",
        "Digest realm=\"a, b\", nonce=\"x\", basic realm=\"x\"",
    ] {
        let answer = format!("HTTP/1.1 407 No\r\nProxy-Authenticate: {challenge}\r\n\r\n");
        let failure = refusal(None, answer.as_bytes()).await;
        let message =
            "the proxy http://localhost:3128 wants a user name and password, and none are given";
        assert_refusal(&failure, Code::ProxyAuth, message);
    }
}

#[tokio::test]
async fn a_proxy_that_repeats_the_login_does_not_get_it_into_the_failure() {
    let encoded = STANDARD.encode("us?r-name:pässwörd-secret");
    for said in [LOGIN.0, LOGIN.1, "p%C3%A4sswörd-secret", &encoded] {
        for answer in [
            format!("HTTP/1.1 403 {said}\r\n\r\n{said}"),
            format!("HTTP/1.1 407 {said}\r\n\r\n{said}"),
            format!("HTTP/1.1 407 No\r\nProxy-Authenticate: {said}\r\n\r\n"),
            format!(
                "HTTP/1.1 407 No\r\nProxy-Authenticate: {}\r\n\r\n",
                &said[..8]
            ),
            format!("{said}\r\n\r\n"),
        ] {
            let failure = refusal(Some(LOGIN), answer.as_bytes()).await;
            let shown = format!("{failure:?}");
            for secret in ["us?r", "rd-secret", &encoded[..8]] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_no_http() {
    let failure = refusal(None, b"\x15\x03\x01\x00\x02\x02\x46").await;
    let message = "the proxy http://localhost:3128 answered CONNECT with something that is no HTTP";
    assert_refusal(&failure, Code::Proxy, message);
    assert!(failure.hint().contains("https:// "), "{failure:?}");
}

#[tokio::test]
async fn a_proxy_whose_headers_have_no_end() {
    let answer = [b"HTTP/1.1 200 OK\r\nA: ", &[b'a'; 20_000][..]].concat();
    let failure = refusal(None, &answer).await;
    let message = "the proxy http://localhost:3128 answered CONNECT with headers without end";
    assert_refusal(&failure, Code::Proxy, message);
}

#[tokio::test]
async fn a_proxy_that_closes_without_an_answer() {
    for answer in ["", "HTTP/1.1 200 OK\r\n"] {
        let failure = refusal(None, answer.as_bytes()).await;
        let message =
            "the proxy http://localhost:3128 closed the connection without an answer to CONNECT";
        assert_refusal(&failure, Code::Proxy, message);
    }
}

#[tokio::test]
async fn a_proxy_that_takes_no_request_may_still_say_why() {
    let (mut near, mut far) = duplex(1_000);
    far.write_all(b"HTTP/1.1 403 Too many clients\r\n\r\n")
        .await
        .unwrap();
    drop(far);
    let failure = http_connect(&mut near, &proxy(None), TARGET)
        .await
        .unwrap_err();
    assert!(failure.message().ends_with("HTTP 403 Too many clients"));
}

#[tokio::test]
async fn a_proxy_that_speaks_in_the_endpoint_s_place() {
    let failure = refusal(None, b"HTTP/1.1 200 OK\r\n\r\n<html>").await;
    let message = "the proxy http://localhost:3128 sent something behind its answer to CONNECT iot.example:443";
    assert_refusal(&failure, Code::Proxy, message);
}

/// Goes through the proxy of these options, as far as TLS with the endpoint.
async fn way(options: &Options) -> Result<Socket> {
    let sockets = dial::SocketOptions::of(options);
    let proxy = options.proxy.as_ref().unwrap();
    reach(proxy, None, &sockets, &options.host, options.port).await
}

#[tokio::test]
async fn a_proxy_where_nobody_listens() {
    // Bound and not listening: nobody else gets the port, and it refuses.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    for scheme in ["http", "socks5"] {
        let failure = way(&with_proxy(scheme, port, Some(LOGIN))).await;
        let failure = failure.err().unwrap();
        assert_eq!(
            (failure.code(), failure.stage()),
            (Code::Proxy, Stage::Proxy)
        );
        let start = format!("the proxy {scheme}://localhost:{port} cannot be reached: ");
        assert!(failure.message().starts_with(&start), "{failure}");
        assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_proxy_whose_name_does_not_resolve() {
    let mut options = with_proxy("http", 3_128, None);
    options.proxy.as_mut().unwrap().host = "nothing.invalid".to_owned();
    let failure = way(&options).await.err().unwrap();
    assert_eq!(
        (failure.code(), failure.stage()),
        (Code::Proxy, Stage::Proxy)
    );
    let start = "the proxy http://nothing.invalid:3128 cannot be reached: ";
    assert!(failure.message().starts_with(start), "{failure}");
}

#[tokio::test]
async fn a_proxy_that_hangs() {
    let (see, seen) = oneshot::channel();
    let endpoint = Endpoint::tcp(async move |mut stream| {
        read_head(&mut stream).await;
        see.send(()).unwrap();
        let _closed = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let authority = testing::Authority::new();
    let mut options = with_proxy("http", endpoint.port, None);
    trust(&mut options, &authority);
    let deadline = Deadline::of_attempt(&options);
    let transport = Transport::new(Arc::new(options));
    let run_out = async {
        seen.await.unwrap();
        time::pause();
        time::advance(Duration::from_secs(31)).await;
        time::resume();
    };
    let (opened, ()) = tokio::join!(transport.open(None, &deadline), run_out);
    let failure = opened.err().unwrap();
    assert_eq!(
        (failure.code(), failure.stage()),
        (Code::ConnectTimeout, Stage::Proxy)
    );
    assert!(failure.message().ends_with("the proxy had not let through"));
}

fn trust(options: &mut Options, authority: &testing::Authority) {
    let pem = authority.pem.clone().into_bytes();
    let trusting = testing::options(|options| options.tls.ca = vec![pem]);
    options.tls.profile.roots = trusting.tls.profile.roots;
}

/// What a server calls itself, as it was asked for.
fn asked_for<S>(stream: &tokio_rustls::server::TlsStream<S>) -> Option<String> {
    stream.get_ref().1.server_name().map(str::to_owned)
}

#[tokio::test]
async fn tls_with_the_endpoint_goes_through_tls_with_the_proxy() {
    let authority = testing::Authority::new();
    let of_proxy = authority.server_config(&["h2", "http/1.1"], |_| {});
    let of_endpoint = authority.server_config(&["mqtt"], |params| {
        *params = CertificateParams::new(vec!["iot.example".to_owned()]).unwrap();
    });
    let (tell, told) = oneshot::channel();
    let endpoint = Endpoint::tls(of_proxy, async move |mut stream| {
        let mut names = vec![asked_for(&stream)];
        let request = read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        let mut inner = TlsAcceptor::from(of_endpoint).accept(stream).await.unwrap();
        names.push(asked_for(&inner));
        inner.write_all(b"hello").await.unwrap();
        inner.flush().await.unwrap();
        tell.send((names, request)).unwrap();
        let _closed = inner.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut options = with_proxy("https", endpoint.port, None);
    trust(&mut options, &authority);
    let deadline = Deadline::of_attempt(&options);
    let transport = Transport::new(Arc::new(options));
    let mut stream = transport.open(None, &deadline).await.unwrap();
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    assert_eq!(alpn_protocol(&stream).as_deref(), Some("mqtt"));
    let (names, request) = told.await.unwrap();
    let wanted = ["localhost", "iot.example"].map(|name| Some(name.to_owned()));
    assert_eq!(names, wanted);
    assert!(request.starts_with("CONNECT iot.example:443 "), "{request}");
    assert!(matches!(stream, Either::Left(_)));
}

#[tokio::test]
async fn a_proxy_whose_certificate_is_not_trusted() {
    let config = testing::Authority::named("other").server_config(&[], |_| {});
    let endpoint = Endpoint::tls(config, async |_| {}).await;
    let mut options = with_proxy("https", endpoint.port, Some(LOGIN));
    trust(&mut options, &testing::Authority::new());
    let deadline = Deadline::of_attempt(&options);
    let transport = Transport::new(Arc::new(options));
    let failure = transport.open(None, &deadline).await.err().unwrap();
    assert_eq!(
        (failure.code(), failure.stage()),
        (Code::Proxy, Stage::Proxy)
    );
    let start = format!(
        "the proxy https://localhost:{} cannot be reached: the certificate of ",
        endpoint.port
    );
    assert!(failure.message().starts_with(&start), "{failure}");
    assert!(failure.hint().contains("tls.ca"), "{failure:?}");
}

#[tokio::test]
async fn a_proxy_that_speaks_no_tls() {
    let endpoint = Endpoint::tcp(async |mut stream| {
        let _hello = stream.read_u8().await;
        let _sent = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _closed = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut options = with_proxy("https", endpoint.port, None);
    trust(&mut options, &testing::Authority::new());
    let deadline = Deadline::of_attempt(&options);
    let transport = Transport::new(Arc::new(options));
    let failure = transport.open(None, &deadline).await.err().unwrap();
    assert_eq!(
        (failure.code(), failure.stage()),
        (Code::Proxy, Stage::Proxy)
    );
    let start = format!("the proxy https://localhost:{} cannot be", endpoint.port);
    assert!(failure.message().starts_with(&start), "{failure}");
}

/// Goes through a proxy of SOCKS 5 that plays `play`, to `host`.
async fn socks<F: Future<Output = ()> + Send>(
    host: &str,
    login: Option<(&str, &str)>,
    play: impl FnOnce(Socks) -> F + Send + 'static,
) -> Result<Socket> {
    let play = async move |stream| play(Socks(stream)).await;
    let endpoint = Endpoint::tcp(play).await;
    let mut options = with_proxy("socks5", endpoint.port, login);
    options.host = host.to_owned();
    let opened = way(&options).await;
    // The port is the system's choice.
    opened.map_err(|failure| {
        let message = failure.message();
        let message = message.replace(&format!(":{}", endpoint.port), ":1080");
        let hint = failure.hint().to_owned();
        Failure::new(failure.code(), failure.stage(), message).with_hint(hint)
    })
}

/// The proxy's end.
struct Socks(TcpStream);

impl Socks {
    async fn expect(&mut self, wanted: &[u8]) {
        let mut bytes = vec![0; wanted.len()];
        self.0.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, wanted);
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Lets in without a login, and reads the request.
    async fn greet(&mut self) {
        self.expect(b"\x05\x01\x00").await;
        self.send(b"\x05\x00").await;
        self.expect(b"\x05\x01\x00\x03\x0biot.example\x01\xbb")
            .await;
    }

    /// Reads until the client closes.
    async fn listen(mut self) {
        let _closed = self.0.read_to_end(&mut Vec::new()).await;
    }
}

/// What is answered to a request that succeeds.
const OPENED: &[u8] = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x10\x00";

#[tokio::test]
async fn socks_resolves_the_endpoint_s_name_and_nothing_behind_its_answer_is_lost() {
    for answer in [
        OPENED,
        b"\x05\x00\x00\x03\x05proxy\x10\x00",
        b"\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x10\x00",
    ] {
        let opened = socks("iot.example", None, async move |mut proxy| {
            proxy.greet().await;
            proxy.send(&[answer, b"x"].concat()).await;
            proxy.listen().await;
        })
        .await;
        assert_eq!(opened.unwrap().read_u8().await.unwrap(), b'x');
    }
}

#[tokio::test]
async fn socks_connects_to_addresses_as_they_are() {
    for (host, address) in [
        ("192.0.2.1", &b"\x01\xc0\x00\x02\x01"[..]),
        (
            "2001:db8::1",
            b"\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        ),
    ] {
        let opened = socks(host, None, async move |mut proxy| {
            proxy.expect(b"\x05\x01\x00").await;
            proxy.send(b"\x05\x00").await;
            proxy
                .expect(&[b"\x05\x01\x00", address, b"\x01\xbb"].concat())
                .await;
            proxy.send(OPENED).await;
            proxy.listen().await;
        })
        .await;
        opened.unwrap();
    }
}

#[tokio::test]
async fn socks_is_given_the_login() {
    let opened = socks("iot.example", Some(LOGIN), async |mut proxy| {
        proxy.expect(b"\x05\x02\x00\x02").await;
        proxy.send(b"\x05\x02").await;
        let login = "\x01\x09us?r-name\x11pässwörd-secret";
        proxy.expect(login.as_bytes()).await;
        proxy.send(b"\x01\x00").await;
        proxy
            .expect(b"\x05\x01\x00\x03\x0biot.example\x01\xbb")
            .await;
        proxy.send(OPENED).await;
        proxy.listen().await;
    })
    .await;
    opened.unwrap();
}

/// The failure over a proxy that plays `play`, which holds no secret.
async fn socks_refusal<F: Future<Output = ()> + Send>(
    login: Option<(&str, &str)>,
    play: impl FnOnce(Socks) -> F + Send + 'static,
) -> Failure {
    let failure = socks("iot.example", login, play).await.err().unwrap();
    for secret in [LOGIN.0, LOGIN.1] {
        assert!(!format!("{failure:?}").contains(secret), "{failure:?}");
    }
    failure
}

#[tokio::test]
async fn socks_does_not_accept_the_login() {
    let failure = socks_refusal(Some(LOGIN), async |mut proxy| {
        proxy.expect(b"\x05\x02\x00\x02").await;
        proxy.send(b"\x05\x02\x01\x01").await;
        proxy.listen().await;
    })
    .await;
    let message =
        "the proxy socks5://localhost:1080 did not accept the user name and password it was given";
    assert_refusal(&failure, Code::ProxyAuth, message);
}

#[tokio::test]
async fn socks_wants_a_login_where_none_is_given() {
    for method in [0xff, 0x02] {
        let failure = socks_refusal(None, async move |mut proxy| {
            proxy.expect(b"\x05\x01\x00").await;
            proxy.send(&[5, method]).await;
            proxy.listen().await;
        })
        .await;
        let message = "the proxy socks5://localhost:1080 wants a login, and none is given";
        assert_refusal(&failure, Code::ProxyAuth, message);
    }
}

#[tokio::test]
async fn socks_wants_another_login() {
    let failure = socks_refusal(Some(LOGIN), async |mut proxy| {
        proxy.expect(b"\x05\x02\x00\x02").await;
        proxy.send(b"\x05\xff").await;
        proxy.listen().await;
    })
    .await;
    let message = "the proxy socks5://localhost:1080 wants a login by another method than user name and password";
    assert_refusal(&failure, Code::ProxyAuth, message);
}

#[tokio::test]
async fn socks_selects_what_was_not_offered() {
    let failure = socks_refusal(None, async |mut proxy| {
        proxy.expect(b"\x05\x01\x00").await;
        proxy.send(b"\x05\x01").await;
        proxy.listen().await;
    })
    .await;
    assert_refusal(&failure, Code::Proxy, UNKNOWN);
}

const UNKNOWN: &str = "the proxy socks5://localhost:1080 answered with a method or a refusal that SOCKS 5 does not know, and did not connect to iot.example:443";

#[tokio::test]
async fn every_refusal_of_socks() {
    for (code, why) in [
        (1, "General SOCKS server failure"),
        (2, "Connection not allowed by ruleset"),
        (3, "Network unreachable"),
        (4, "Host unreachable"),
        (5, "Connection refused"),
        (6, "TTL expired"),
        (7, "Command not supported"),
        (8, "Address type not supported"),
    ] {
        let failure = refused_with(code).await;
        let message = format!(
            "the proxy socks5://localhost:1080 could not connect to iot.example:443: {why}"
        );
        assert_refusal(&failure, Code::Proxy, &message);
    }
}

#[tokio::test]
async fn a_refusal_that_socks_does_not_know_is_none_of_the_login() {
    for code in [9, 0xff] {
        assert_refusal(&refused_with(code).await, Code::Proxy, UNKNOWN);
    }
}

async fn refused_with(code: u8) -> Failure {
    socks_refusal(None, async move |mut proxy| {
        proxy.greet().await;
        proxy.send(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        proxy.listen().await;
    })
    .await
}

#[tokio::test]
async fn a_proxy_that_speaks_no_socks() {
    for garbage in ["HTTP/1.1 400 Bad Request\r\n\r\n", "\x04\x5b"] {
        let failure = socks_refusal(None, async move |mut proxy| {
            proxy.expect(b"\x05\x01\x00").await;
            proxy.send(garbage.as_bytes()).await;
            proxy.listen().await;
        })
        .await;
        let message = "the proxy socks5://localhost:1080 does not speak SOCKS 5";
        assert_refusal(&failure, Code::Proxy, message);
        assert!(failure.hint().contains("http:// for HTTP CONNECT"));
    }
}

#[tokio::test]
async fn socks_answers_the_request_with_garbage() {
    for garbage in [b"\x04\0\0\x01", b"\x05\0\x01\x01", b"\x05\0\0\x02"] {
        let failure = socks_refusal(None, async move |mut proxy| {
            proxy.greet().await;
            proxy.send(garbage).await;
            proxy.listen().await;
        })
        .await;
        let message = "the proxy socks5://localhost:1080 does not speak SOCKS 5";
        assert_refusal(&failure, Code::Proxy, message);
    }
}

#[tokio::test]
async fn socks_closes_before_it_has_connected() {
    for told in 0..OPENED.len() {
        let failure = socks_refusal(None, async move |mut proxy| {
            proxy.greet().await;
            proxy.send(&OPENED[..told]).await;
        })
        .await;
        let message = "the proxy socks5://localhost:1080 closed the connection before it had connected to iot.example:443";
        assert_refusal(&failure, Code::Proxy, message);
    }
}
