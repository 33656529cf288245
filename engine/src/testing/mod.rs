//! Both ends of a connection for tests.

/// A host that writes down what it is told.
mod host;
pub use host::{Event, Recorder, options};

/// What a client sends, read, and what a server sends, written.
mod packets;
pub use packets::{Sent, packet, parse, parse_all, server};

/// Certificates, and an endpoint that speaks TLS.
mod tls;
pub use tls::{Authority, Endpoint, Identity, Listener};

/// A waker that counts.
mod wakes;
pub use wakes::Wakes;
