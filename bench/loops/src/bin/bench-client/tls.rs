//! Bytes over rustls: packets made beforehand go out, and what comes in is counted.
//!
//! Of MQTT 3.1.1 it has what the sink wants to see.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bench_loops::{Load, Result};
use bytes::{BufMut, BytesMut};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::job::Job;

const CONNACK_BYTES: usize = 4;
const SUBACK_BYTES: usize = 5;
const PUBACK_BYTES: usize = 4;
/// So many messages are acknowledged together, a quarter of what the sink sends ahead: the engine gathers as well.
const TOGETHER: usize = 250;
/// The engine's room for one read.
const READ_BYTES: usize = 16 * 1024;

/// Gives how long the messages took.
pub fn run(job: &Job) -> Result<Duration> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(job).await?;
        connection.send(&connect(job)?).await?;
        connection.receive(CONNACK_BYTES).await?;
        let load = job.load()?;
        let wall = match job.text("kind")? {
            "publish" => connection.publish(load, job.number("window")?).await?,
            "receive" if load.count == 0 => Duration::ZERO,
            "receive" => connection.flood(job.text("filter")?, load).await?,
            other => return Err(format!("no kind is called {other}").into()),
        };
        connection.send(&packet(0xe0, &[])).await?;
        connection.stream.shutdown().await?;
        Ok(wall)
    })
}

struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(job: &Job) -> Result<Self> {
        let host = job.text("host")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(job.text("ca")?)?)?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        let tcp = TcpStream::connect((host, job.number("port")? as u16)).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Self {
            stream: TlsConnector::from(Arc::new(config))
                .connect(name, tcp)
                .await?,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// `window` publishes at a time, each followed by the next, and one more.
    async fn publish(&mut self, load: Load, window: usize) -> Result<Duration> {
        let Load { qos, size, count } = load;
        let one = publish("bench/publish", qos, 0, size).len();
        // In order they come back: as many packet identifiers as may be on their way are enough.
        let ring: Vec<u8> = (1..=window as u16)
            .flat_map(|id| publish("bench/publish", qos, id, size))
            .collect();
        let before = Instant::now();
        let mut begun = 0;
        let mut done = 0;
        let mut acknowledged = 0;
        while done < count {
            let upto = count.min(done + window);
            while begun < upto {
                let start = begun % window;
                let some = (upto - begun).min(window - start);
                let bytes = &ring[start * one..(start + some) * one];
                self.stream.write_all(bytes).await?;
                begun += some;
            }
            self.stream.flush().await?;
            done = if qos == 0 {
                begun
            } else {
                acknowledged += self.read().await?;
                acknowledged / PUBACK_BYTES
            };
        }
        self.send(&publish("bench/barrier", 1, 1, size)).await?;
        self.receive((count * usize::from(qos) + 1) * PUBACK_BYTES - acknowledged)
            .await?;
        Ok(before.elapsed())
    }

    /// Counts what comes, from the first message to the last.
    async fn flood(&mut self, filter: &str, load: Load) -> Result<Duration> {
        let Load { qos, size, count } = load;
        let one = publish(filter, qos, 0, size).len();
        let mut acknowledgements = BytesMut::new();
        self.send(&subscribe(filter, qos)).await?;
        // What is behind SUBACK comes with it, or later.
        let mut received = self.receive_at_least(SUBACK_BYTES).await? - SUBACK_BYTES;
        let first = Instant::now();
        let mut acknowledged = 0;
        loop {
            let whole = received / one;
            if qos > 0 && (whole - acknowledged >= TOGETHER || whole >= count) {
                for number in acknowledged..whole {
                    acknowledgements.put_slice(&[0x40, 2]);
                    acknowledgements.put_u16((number % usize::from(u16::MAX)) as u16 + 1);
                }
                acknowledged = whole;
                let bytes = acknowledgements.split();
                self.send(&bytes).await?;
            }
            if whole >= count {
                return Ok(first.elapsed());
            }
            received += self.read().await?;
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Takes so many bytes and no others.
    async fn receive(&mut self, count: usize) -> Result<()> {
        match self.receive_at_least(count).await? {
            received if received == count => Ok(()),
            _ => Err("the server sent more than it was asked for".into()),
        }
    }

    async fn receive_at_least(&mut self, count: usize) -> Result<usize> {
        let mut received = 0;
        while received < count {
            received += self.read().await?;
        }
        Ok(received)
    }

    async fn read(&mut self) -> Result<usize> {
        match self.stream.read(&mut self.buffer).await? {
            0 => Err("the server closed the connection".into()),
            count => Ok(count),
        }
    }
}

fn connect(job: &Job) -> Result<Vec<u8>> {
    let user_name = format!(
        "{}?x-amz-customauthorizer-name={}",
        job.text("username")?,
        job.text("authorizerName")?
    );
    Ok(packet(
        0x10,
        &[
            &field("MQTT"),
            // Version 4, a clean session with user name and password, no keep-alive.
            &[4, 0xc2, 0, 0],
            &field(job.text("id")?),
            &field(&user_name),
            &field(job.text("password")?),
        ],
    ))
}

fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1], &field(filter), &[qos]])
}

fn publish(topic: &str, qos: u8, id: u16, size: usize) -> Vec<u8> {
    let id = id.to_be_bytes();
    let id = if qos > 0 { &id[..] } else { &[] };
    packet(0x30 | qos << 1, &[&field(topic), id, &vec![b'x'; size]])
}

fn field(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn packet(header: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![header];
    let mut length = body.len();
    while length >= 0x80 {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(body);
    packet
}
