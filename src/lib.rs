//! The Node face of the engine: what crosses the boundary, and how little of it.
//!
//! Calls go down synchronously and carry a number; what happens comes back in batches, drained by the JavaScript thread
//! when the bell of its environment has rung.

// The exports that JavaScript calls are not registered in a test build.
#![cfg_attr(test, allow(dead_code))]
mod client;
mod diagnosis;
mod environment;
mod failure;
mod inbox;
mod options;
mod outbox;
mod properties;
mod runtime;
mod signing;
mod topics;
