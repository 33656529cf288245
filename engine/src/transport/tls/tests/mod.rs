//! Over a pipe, against servers of rustls.

mod buffering;
mod certificates;
mod identity;
mod kit;
mod negotiation;
mod sharing;
