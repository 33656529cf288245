//! As much of MQTT as a sink needs, on bytes.

use std::io;

use bytes::{BufMut, BytesMut};

/// One complete packet.
pub struct Packet<'a> {
    pub header: u8,
    pub body: Reader<'a>,
    /// Of the whole packet.
    pub length: usize,
}

/// The packet at the front, once it is complete.
pub fn next(bytes: &[u8]) -> io::Result<Option<Packet<'_>>> {
    let mut reader = Reader(bytes);
    let (Ok(header), before) = (reader.byte(), bytes.len()) else {
        return Ok(None);
    };
    let length = match reader.variable() {
        Ok(length) => length,
        Err(_) if before < 5 => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(body) = reader.0.get(..length) else {
        return Ok(None);
    };
    Ok(Some(Packet {
        header,
        length: bytes.len() - reader.0.len() + length,
        body: Reader(body),
    }))
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub fn short(&mut self) -> io::Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Text or binary data behind its length.
    pub fn field(&mut self) -> io::Result<&'a [u8]> {
        let length = self.short()?;
        self.take(usize::from(length))
    }

    pub fn variable(&mut self) -> io::Result<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed())
    }

    /// The properties of an MQTT 5 packet.
    pub fn properties(&mut self) -> io::Result<Reader<'a>> {
        let length = self.variable()?;
        self.take(length).map(Reader)
    }
}

/// Receive Maximum among the properties of CONNECT.
pub fn receive_maximum(mut properties: Reader<'_>) -> io::Result<Option<u16>> {
    while !properties.0.is_empty() {
        match properties.byte()? {
            0x21 => return properties.short().map(Some),
            0x11 | 0x27 => drop(properties.take(4)?),
            0x22 => drop(properties.take(2)?),
            0x17 | 0x19 => drop(properties.take(1)?),
            0x15 | 0x16 => drop(properties.field()?),
            0x26 => drop((properties.field()?, properties.field()?)),
            _ => return Err(malformed()),
        }
    }
    Ok(None)
}

pub fn put_variable(mut value: usize, out: &mut BytesMut) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        out.put_u8(if value > 0 { byte | 0x80 } else { byte });
        if value == 0 {
            return;
        }
    }
}

pub fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed packet")
}
