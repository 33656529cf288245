//! One client: everything is accepted, and answered once for each read.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use crate::{
    flood::Flood,
    packet::{Packet, malformed, next, receive_maximum},
};

const AUTHORIZER: &[u8] = b"x-amz-customauthorizer-name=";
const READ_BYTES: usize = 64 * 1024;

/// What a client did, for the benchmark to check that every client does the same.
#[derive(Default)]
pub struct Record {
    pub tls: String,
    pub alpn: bool,
    pub resumed: bool,
    version: u8,
    client_id: String,
    authorizer: bool,
    password: bool,
    publishes: [u64; 2],
    payload_bytes: u64,
    acknowledged: u64,
    disconnected: bool,
}

impl Record {
    pub fn json(&self, error: Option<&str>) -> String {
        format!(
            concat!(
                r#"{{"version":{},"clientId":{:?},"tls":{:?},"alpn":{},"resumed":{},"authorizer":{},"password":{},"#,
                r#""qos0":{},"qos1":{},"payloadBytes":{},"acknowledged":{},"disconnected":{},"error":{}}}"#,
            ),
            self.version,
            self.client_id,
            self.tls,
            self.alpn,
            self.resumed,
            self.authorizer,
            self.password,
            self.publishes[0],
            self.publishes[1],
            self.payload_bytes,
            self.acknowledged,
            self.disconnected,
            error.map_or("null".into(), |error| format!("{error:?}")),
        )
    }
}

#[derive(Default)]
struct State {
    receive_maximum: Option<u16>,
    flood: Option<Flood>,
    out: BytesMut,
}

pub async fn run<S: AsyncRead + AsyncWrite>(stream: S, record: &mut Record) -> io::Result<()> {
    let (mut reader, mut writer) = split(stream);
    let mut state = State::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut inbound = BytesMut::new();
    let mut unflushed = false;
    while !record.disconnected {
        if let Some(flood) = &mut state.flood {
            flood.write(&mut state.out);
        }
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let bytes = &buffer[..read?];
                if bytes.is_empty() {
                    break;
                }
                if inbound.is_empty() {
                    let taken = take(bytes, &mut state, record)?;
                    inbound.extend_from_slice(&bytes[taken..]);
                } else {
                    inbound.extend_from_slice(bytes);
                    let taken = take(&inbound, &mut state, record)?;
                    inbound.advance(taken);
                }
            }
            written = async {
                if state.out.is_empty() {
                    writer.flush().await.map(|()| 0)
                } else {
                    writer.write(&state.out).await
                }
            }, if unflushed || !state.out.is_empty() => {
                let written = written?;
                state.out.advance(written);
                unflushed = written > 0;
            }
        }
    }
    // Nothing is told to a client that has left.
    let _closed = writer.shutdown().await;
    Ok(())
}

/// Answers every complete packet; gives how many bytes they had.
fn take(bytes: &[u8], state: &mut State, record: &mut Record) -> io::Result<usize> {
    let mut taken = 0;
    while let Some(packet) = next(&bytes[taken..])? {
        taken += packet.length;
        answer(packet, state, record)?;
    }
    Ok(taken)
}

fn answer(mut packet: Packet<'_>, state: &mut State, record: &mut Record) -> io::Result<()> {
    let body = &mut packet.body;
    let v5 = record.version == 5;
    match packet.header >> 4 {
        // CONNECT
        1 => {
            connect(packet, state, record)?;
            let connack: &[u8] = if record.version == 5 {
                &[0x20, 3, 0, 0, 0]
            } else {
                &[0x20, 2, 0, 0]
            };
            state.out.put_slice(connack);
        }
        // PUBLISH
        3 => {
            let qos = usize::from(packet.header >> 1 & 3).min(1);
            body.field()?;
            if qos > 0 {
                let packet_id = body.short()?;
                state.out.put_slice(&[0x40, 2]);
                state.out.put_u16(packet_id);
            }
            if v5 {
                body.properties()?;
            }
            record.publishes[qos] += 1;
            record.payload_bytes += body.0.len() as u64;
        }
        // PUBACK
        4 => {
            record.acknowledged += 1;
            if let Some(flood) = &mut state.flood {
                flood.acknowledged();
            }
        }
        // SUBSCRIBE
        8 => {
            let packet_id = body.short()?;
            if v5 {
                body.properties()?;
            }
            let mut codes = Vec::new();
            while !body.0.is_empty() {
                let filter = body.field()?;
                codes.push((body.byte()? & 3).min(1));
                if let Some(flood) = Flood::parse(filter, v5, state.receive_maximum) {
                    state.flood = Some(flood);
                }
            }
            acknowledge(0x90, packet_id, v5, &codes, &mut state.out);
        }
        // UNSUBSCRIBE
        10 => {
            let packet_id = body.short()?;
            if v5 {
                body.properties()?;
            }
            let mut codes = Vec::new();
            while !body.0.is_empty() {
                body.field()?;
                codes.push(0);
            }
            // MQTT 3.1.1 answers without codes.
            acknowledge(
                0xb0,
                packet_id,
                v5,
                if v5 { &codes } else { &[] },
                &mut state.out,
            );
        }
        // PINGREQ
        12 => state.out.put_slice(&[0xd0, 0]),
        // DISCONNECT
        14 => record.disconnected = true,
        _ => return Err(malformed()),
    }
    Ok(())
}

fn connect(mut packet: Packet<'_>, state: &mut State, record: &mut Record) -> io::Result<()> {
    let body = &mut packet.body;
    body.field()?;
    record.version = body.byte()?;
    let flags = body.byte()?;
    body.short()?;
    if record.version == 5 {
        state.receive_maximum = receive_maximum(body.properties()?)?;
    }
    record.client_id = String::from_utf8_lossy(body.field()?).into_owned();
    if flags & 0x04 != 0 {
        if record.version == 5 {
            body.properties()?;
        }
        body.field()?;
        body.field()?;
    }
    if flags & 0x80 != 0 {
        let user_name = body.field()?;
        record.authorizer = user_name
            .windows(AUTHORIZER.len())
            .any(|window| window == AUTHORIZER);
    }
    record.password = flags & 0x40 != 0 && !body.field()?.is_empty();
    Ok(())
}

fn acknowledge(header: u8, packet_id: u16, v5: bool, codes: &[u8], out: &mut BytesMut) {
    out.put_slice(&[header, (2 + usize::from(v5) + codes.len()) as u8]);
    out.put_u16(packet_id);
    if v5 {
        out.put_u8(0);
    }
    out.put_slice(codes);
}
