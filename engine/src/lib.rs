//! An MQTT 3.1.1 and 5 connection to AWS IoT Core through a custom authorizer.
//!
//! Arrows point downward only:
//! `{ supervisor, diagnosis, bare } -> { link, handle -> task } -> commands -> { session -> wire, transport } -> options
//! -> authorizer -> { limits, error }`.
//! A host calls [`connect`], runs the task it gets, asks for things through the [`Handle`] and hears of them through
//! its [`Events`]. Nothing here knows Node.

/// The life of a connection.
mod supervisor;
pub use supervisor::connect;

/// One attempt, watched.
mod diagnosis;
pub use diagnosis::{Probes, diagnose};
pub use transport::Passage;

/// The host's end: what it asks for, and what it is told.
mod handle;
pub use handle::{Handle, Topic};
/// The way of what it asks for.
mod commands;
mod events;
/// What does it.
mod task;
pub use events::{Connected, Events, Message};

/// A link without a supervisor, for benchmarks and tests.
#[cfg(any(test, feature = "bare"))]
mod bare;
/// One live connection.
mod link;
#[cfg(feature = "bare")]
pub use bare::connect_over;
/// Protocol state without a socket.
mod session;
pub use session::{Expiry, Filter, FilterId, Token, filter_matches};
/// Packets on bytes.
mod wire;
pub use wire::{Direction, PublishProperties, Trace, Version, Will};
mod deadline;
mod reason;
/// Bytes to the endpoint.
mod transport;

/// Credentials to user name and password.
mod authorizer;
pub use authorizer::{Credentials, Login, SignedToken, TokenEncoding, sign_token};

/// What holds for a whole connection.
mod options;
pub use options::{
    Change, ConnectOptions, Level, LimitChanges, Options, ProxyOptions, ReconnectOptions,
    SystemStore, TlsOptions, WebSocketOptions,
};
mod budget;
/// Rules of HTTP for what the caller gives.
mod http_syntax;
mod limits;
mod shared;
pub use shared::{Number, Shared};

mod error;
/// Secrets in the words of others.
mod secrets;
pub use error::{Code, Failure, Result, Stage};

#[cfg(test)]
mod testing;
