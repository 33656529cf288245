use std::{
    collections::HashSet,
    future::poll_fn,
    io::ErrorKind::{InvalidData, UnexpectedEof},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use rustls::{
    AlertDescription, ClientConfig, Error as TlsError, RootCertStore, ServerConfig,
    SupportedCipherSuite, Tls12CipherSuite,
    client::ClientSessionMemoryCache,
    crypto::{CipherSuiteCommon, ring},
    pki_types::{CertificateDer, pem::PemObject},
    server::{ServerSessionMemoryCache, StoresServerSessions},
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split};
use tokio_rustls::TlsAcceptor;

use super::{
    super::tests::kit::{Client, Server, talk, tls},
    Config, RECORD_BYTES,
};
use crate::{
    testing::Authority,
    transport::tls::{config, handshake},
};

/// Both ends of TLS over a pipe that holds so many bytes.
async fn connected(
    version: &'static rustls::SupportedProtocolVersion,
    capacity: usize,
    change: impl FnOnce(&mut ServerConfig),
) -> (Client, Server) {
    let authority = Authority::new();
    let tls = tls(&authority, |_| {});
    let mut server = authority.issue(|_| {}).server_config(&["mqtt"], &[version]);
    change(&mut server);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let config = config(&tls.profile, None).await.unwrap();
    let (near, far) = duplex(capacity);
    let (client, server) = tokio::join!(
        handshake(config, tls.server_name.clone(), near),
        acceptor.accept(far)
    );
    (client.unwrap(), server.unwrap())
}

/// As much as several records, no part of it like another.
fn text() -> Vec<u8> {
    (0..50_000_u32)
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

#[tokio::test]
async fn records_may_come_byte_by_byte_and_messages_in_fragments() {
    for version in [&TLS12, &TLS13] {
        let (mut client, mut server) = connected(version, 1, |server| {
            server.max_fragment_size = Some(64);
            // Tickets would fill the pipe, from which nobody reads behind the handshake.
            server.send_tls13_tickets = 0;
        })
        .await;
        let text = &text()[..2_000];
        let mut received = vec![0; text.len()];
        let (sent, read) = tokio::join!(
            async {
                server.write_all(text).await?;
                server.flush().await
            },
            client.read_exact(&mut received)
        );
        sent.unwrap();
        read.unwrap();
        assert_eq!(received, text, "{version:?}");
    }
}

#[tokio::test]
async fn what_is_written_arrives_whole_and_in_order_both_ways_through_a_narrow_network() {
    for version in [&TLS12, &TLS13] {
        let (client, server) = connected(version, 1_000, |_| {}).await;
        let (mut client_reads, mut client_writes) = split(client);
        let (mut server_reads, mut server_writes) = split(server);
        let text = text();
        let (mut up, mut down) = (vec![0; text.len()], vec![0; text.len()]);
        let (wrote, served, came, arrived) = tokio::join!(
            async {
                client_writes.write_all(&text).await?;
                client_writes.flush().await
            },
            async {
                server_writes.write_all(&text).await?;
                server_writes.flush().await
            },
            client_reads.read_exact(&mut down),
            server_reads.read_exact(&mut up)
        );
        wrote.and(served).unwrap();
        came.and(arrived).unwrap();
        assert!(up == text && down == text, "{version:?}");
    }
}

#[tokio::test]
async fn a_reader_may_have_less_room_than_a_record_has_bytes() {
    let (mut client, mut server) = connected(&TLS13, 1 << 20, |_| {}).await;
    let text = text();
    server.write_all(&text).await.unwrap();
    server.flush().await.unwrap();
    for (index, byte) in text.iter().enumerate() {
        assert_eq!(client.read_u8().await.unwrap(), *byte, "at {index}");
    }
}

#[tokio::test]
async fn no_more_than_a_record_is_held_back() {
    let (mut client, _silent) = connected(&TLS13, 1_000, |_| {}).await;
    let mut taken = 0;
    poll_fn(|cx| {
        while let Poll::Ready(count) = Pin::new(&mut client).poll_write(cx, &[0; 100_000]) {
            taken += count.unwrap();
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(taken, RECORD_BYTES);
}

#[tokio::test]
async fn a_reader_that_reads_little_makes_little_be_kept() {
    let (mut client, mut server) = connected(&TLS13, 1 << 20, |_| {}).await;
    server.write_all(&text()).await.unwrap();
    server.flush().await.unwrap();
    client.read_u8().await.unwrap();
    let kept = client.plaintext.capacity();
    assert!(kept <= 2 * RECORD_BYTES, "{kept}");
}

#[tokio::test]
async fn a_reader_leaves_a_writer_of_another_task_its_place() {
    let (client, server) = connected(&TLS13, 1_000, |_| {}).await;
    let (mut client_reads, mut client_writes) = split(client);
    let (mut server_reads, mut server_writes) = split(server);
    let text = text();
    let mut received = vec![0; text.len()];
    let writer = tokio::spawn(async move {
        client_writes.write_all(&text).await?;
        client_writes.flush().await
    });
    // On one thread the writer goes as far as the network lets it, and waits.
    tokio::task::yield_now().await;
    let reader = tokio::spawn(async move { client_reads.read_exact(&mut [0; 5]).await });
    tokio::task::yield_now().await;
    server_writes.write_all(b"hello").await.unwrap();
    server_writes.flush().await.unwrap();
    tokio::task::yield_now().await;
    server_reads.read_exact(&mut received).await.unwrap();
    writer.await.unwrap().unwrap();
    assert_eq!(reader.await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn a_connection_at_rest_holds_no_buffer() {
    let (mut client, mut server) = connected(&TLS13, 1 << 16, |_| {}).await;
    talk(&mut client, &mut server).await.unwrap();
    let held = [
        client.incoming.capacity(),
        client.plaintext.capacity(),
        client.tls.outgoing.capacity(),
    ];
    assert_eq!(held, [0, 0, 0]);
}

#[tokio::test]
async fn the_other_sides_close_is_an_end_and_a_cut_is_none() {
    let (mut client, mut server) = connected(&TLS13, 1 << 16, |_| {}).await;
    server.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0; 10]).await.unwrap(), 0);

    let (mut client, server) = connected(&TLS13, 1 << 16, |_| {}).await;
    drop(server);
    let error = client.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), UnexpectedEof);
}

#[tokio::test]
async fn what_was_closed_for_reading_may_still_be_written_to() {
    for version in [&TLS12, &TLS13] {
        let (mut client, mut server) = connected(version, 1 << 16, |_| {}).await;
        server.get_mut().1.send_close_notify();
        server.flush().await.unwrap();
        assert_eq!(client.read(&mut [0; 10]).await.unwrap(), 0);
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"last", "{version:?}");
    }
}

#[tokio::test]
async fn closing_twice_closes_once() {
    let (mut client, mut server) = connected(&TLS13, 1 << 16, |_| {}).await;
    client.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"");
}

#[tokio::test]
async fn what_came_before_a_failure_is_read_before_it_and_the_other_side_is_told_why() {
    let (mut client, mut server) = connected(&TLS13, 1 << 16, |_| {}).await;
    server.write_all(b"before").await.unwrap();
    server.flush().await.unwrap();
    // A record that nobody has encrypted.
    let forged = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
    server.get_mut().0.write_all(&forged).await.unwrap();

    let mut received = [0; 6];
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"before");
    for _ in 0..2 {
        let error = client.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), InvalidData);
    }
    assert!(client.write(b"after").await.is_err());
    let told = server.read(&mut [0; 10]).await.unwrap_err();
    let told = told.get_ref().and_then(|error| error.downcast_ref());
    let alert = TlsError::AlertReceived(AlertDescription::BadRecordMac);
    assert_eq!(told, Some(&alert));
}

#[tokio::test]
async fn new_keys_of_the_server_are_taken_and_answered() {
    let (mut client, mut server) = connected(&TLS13, 1 << 16, |_| {}).await;
    for _ in 0..3 {
        server.get_mut().1.refresh_traffic_keys().unwrap();
        talk(&mut client, &mut server).await.unwrap();
    }
}

/// As a server has it that lost its sessions, and whose successor uses their names again.
#[derive(Debug)]
struct Forgetful(Arc<ServerSessionMemoryCache>);

impl StoresServerSessions for Forgetful {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut value = self.0.get(key)?;
        // The master secret is the first thing in it that looks random.
        let is_random = |bytes: &[u8]| bytes.iter().collect::<HashSet<_>>().len() > 36;
        let secret = value.windows(48).position(is_random)?;
        value[secret + 24] ^= 1;
        Some(value)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_session_that_the_server_knows_by_another_secret_is_not_offered_again() {
    let authority = Authority::new();
    let tls = tls(&authority, |_| {});
    let mut server = authority.issue(|_| {}).server_config(&["mqtt"], &[&TLS12]);
    server.session_storage = Arc::new(Forgetful(ServerSessionMemoryCache::new(10)));
    let server = Arc::new(server);
    let config = config(&tls.profile, None).await.unwrap();
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let (near, far) = duplex(1 << 16);
        let acceptor = TlsAcceptor::from(server.clone());
        let handshake = handshake(config.clone(), tls.server_name.clone(), near);
        outcomes.push(tokio::join!(handshake, acceptor.accept(far)).0.is_ok());
    }
    assert_eq!(outcomes, [true, false, true, false]);
}

/// The same suite, which takes only so many records with one key.
fn short_lived(suite: &SupportedCipherSuite) -> Option<SupportedCipherSuite> {
    let SupportedCipherSuite::Tls12(suite) = suite else {
        return None;
    };
    let common = CipherSuiteCommon {
        confidentiality_limit: 10,
        ..suite.common
    };
    // A suite lives for ever, and this one as long as the test.
    Some(SupportedCipherSuite::Tls12(Box::leak(Box::new(
        Tls12CipherSuite {
            common,
            prf_provider: suite.prf_provider,
            kx: suite.kx,
            sign: suite.sign,
            aead_alg: suite.aead_alg,
        },
    ))))
}

#[tokio::test]
async fn a_connection_whose_keys_are_used_up_is_closed_and_the_server_is_told() {
    let authority = Authority::new();
    let tls = tls(&authority, |_| {});
    let server = authority.issue(|_| {}).server_config(&["mqtt"], &[&TLS12]);
    let mut provider = ring::default_provider();
    let suites = &mut provider.cipher_suites;
    *suites = suites.iter().filter_map(short_lived).collect();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        CertificateDer::pem_slice_iter(authority.pem.as_bytes()).flatten(),
    );
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Config {
        client: Arc::new(client),
        sessions: Arc::new(ClientSessionMemoryCache::new(1)),
    };
    let (near, far) = duplex(1 << 16);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let handshake = handshake(Arc::new(config), tls.server_name.clone(), near);
    let (client, server) = tokio::join!(handshake, acceptor.accept(far));
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let mut sent = Vec::new();
    while client.write_all(b"x").await.is_ok() {
        sent.push(b'x');
    }
    client.shutdown().await.unwrap();
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn a_message_without_end_is_refused() {
    let authority = Authority::new();
    let tls = tls(&authority, |_| {});
    let config = config(&tls.profile, None).await.unwrap();
    let (near, mut far) = duplex(1 << 16);
    let endless = async move {
        // The beginning of a ServerHello of the greatest length, and more and more of it.
        let mut payload = vec![0; RECORD_BYTES];
        payload[..4].copy_from_slice(&[2, 0, 0xff, 0xff]);
        loop {
            let header = [&[22, 3, 3][..], &(RECORD_BYTES as u16).to_be_bytes()].concat();
            let written = far.write_all(&[&header[..], &payload].concat()).await;
            if written.is_err() {
                return;
            }
            payload.fill(0);
        }
    };
    let (refused, ()) = tokio::join!(handshake(config, tls.server_name.clone(), near), endless);
    assert_eq!(refused.err().map(|error| error.kind()), Some(InvalidData));
}
