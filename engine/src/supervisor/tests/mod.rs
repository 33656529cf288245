//! A whole connection, against a server in this process.

/// A connection with a host and a server that the test plays.
mod kit;

/// What can go wrong on the way to CONNACK, each with its code and stage.
mod connecting;
/// What the host's thread does itself.
mod hosting;
/// One link after another.
mod reconnecting;
/// ALPN, and TLS sessions that resume.
mod securing;
/// Operations before, during and after; panics.
mod settling;
