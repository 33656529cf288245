//! The rules of the session, each by itself.

/// A session between a host and a server that the test plays.
mod kit;

/// The ways to the end.
mod ending;
/// What MQTT 5 adds.
mod mqtt5;
/// Without a link.
mod offline;
/// The rates and counts of IoT Core.
mod pacing;
/// Publishing: outcomes, packet ids, the window.
mod publishing;
/// Everything at once, in random order.
mod random;
/// Messages, credit and PUBACKs.
mod receiving;
/// A link that makes room for another with newer credentials.
mod renewing;
/// SUBSCRIBE and UNSUBSCRIBE.
mod requests;
/// What is written again on another link.
mod resuming;
/// A server that closes the connection over one operation.
mod suspecting;
/// What happens when time passes.
mod time;
