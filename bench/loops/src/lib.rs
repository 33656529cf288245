//! The benchmark's publish and receive loops on the engine alone, driven as the Node face drives it.

/// What the engine tells.
mod outbox;
pub use outbox::{Outbox, Told};

/// Who asks for it.
mod host;
pub use host::{Host, Load};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
