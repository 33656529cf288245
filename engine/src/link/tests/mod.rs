//! The link over pipes in memory, with a clock that moves only when nothing else can.

/// A link with a host and a server that the test plays.
mod kit;

/// From CONNECT to CONNACK.
mod connecting;
/// The ways in which a link ends.
mod ending;
/// Peers that are slow, stop reading or stop writing.
mod flow;
/// What a link costs while nothing happens.
mod idle;
