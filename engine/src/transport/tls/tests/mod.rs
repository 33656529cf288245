//! Over a pipe, against servers of rustls.

mod certificates;
mod identity;
pub mod kit;
mod negotiation;
mod sharing;
