//! The native side of one connection.

use std::{cell::RefCell, panic::RefUnwindSafe, sync::Arc, time::Duration};

use engine::{
    Code, ConnectOptions, Expiry, Failure, Filter, Handle, Number, Stage, connect, filter_matches,
};
use napi::{
    Either,
    bindgen_prelude::{Uint32Array, Uint32ArraySlice},
};
use napi_derive::napi;

use crate::{
    environment::{Bell, Environment},
    failure::{NativeFailure, internal},
    inbox::Inbox,
    options::{NativeCredentials, NativeOptions},
    outbox::{Outbox, OutboxEvents},
    properties::NativeProperties,
    runtime::runtime,
};

/// Dropping it (collected, or its environment gone) ends the connection.
#[napi(js_name = "NativeConnection")]
pub struct NativeConnection {
    bell: Arc<Bell>,
    handle: RefCell<Handle>,
    inbox: RefCell<Inbox>,
}

/// A message of a batch that was not accepted.
#[napi(object, object_from_js = false)]
pub struct NativeRefusal {
    pub token: u32,
    pub failure: NativeFailure,
}

#[napi(object, object_from_js = false)]
pub struct NativeStats {
    pub messages_sent: f64,
    pub messages_received: f64,
    pub bytes_sent: f64,
    pub bytes_received: f64,
    pub in_flight: f64,
    pub queued: f64,
    pub dropped: f64,
    pub paced_ms: f64,
    /// 0 before the first.
    pub ping_micros: f64,
}

/// Starts to connect. `index` is the connection's number in its environment; everything that happens from here on is
/// drained there. A failure is one of the options.
#[napi(js_name = "connectWithCustomAuthorizer", catch_unwind)]
pub fn connect_with_custom_authorizer(
    environment: &Environment,
    index: u32,
    options: NativeOptions,
) -> Either<NativeConnection, NativeFailure> {
    match start(environment, index, options) {
        Ok(connection) => Either::A(connection),
        Err(failure) => Either::B(failure.into()),
    }
}

fn start(
    environment: &Environment,
    index: u32,
    options: NativeOptions,
) -> engine::Result<NativeConnection> {
    let options = ConnectOptions::try_from(options)?.validate()?;
    let outbox = Arc::new(Outbox::new(index));
    let bell = environment.bell();
    let events = OutboxEvents::new(outbox, bell.clone(), options.log_level);
    let runtime =
        runtime().map_err(|error| internal("the network thread cannot be started", error))?;
    let (handle, task) = connect(options, events);
    runtime.spawn(task);
    Ok(NativeConnection {
        bell,
        handle: RefCell::new(handle),
        inbox: RefCell::default(),
    })
}

#[napi]
impl NativeConnection {
    #[napi(getter, catch_unwind)]
    pub fn client_id(&self) -> String {
        self.handle.borrow().options().client_id.clone()
    }

    /// Publishes the first `count` words of a batch, see `inbox.rs`. Gives the messages that are not accepted.
    #[napi(catch_unwind)]
    pub fn publish_batch(
        &self,
        words: Uint32ArraySlice<'_>,
        count: u32,
        bytes: &[u8],
    ) -> Option<Vec<NativeRefusal>> {
        let words = words.get(..count as usize).unwrap_or_default();
        let mut refusals = Vec::new();
        self.inbox.borrow_mut().publish(
            words,
            bytes,
            &mut self.handle.borrow_mut(),
            |token, failure| {
                refusals.push(NativeRefusal {
                    token,
                    failure: failure.into(),
                });
            },
        );
        (!refusals.is_empty()).then_some(refusals)
    }

    /// Gives a failure where the message is not accepted.
    #[napi(catch_unwind)]
    pub fn publish(
        &self,
        token: u32,
        topic: String,
        payload: &[u8],
        qos: u32,
        retain: bool,
    ) -> Option<NativeFailure> {
        let qos = u8::try_from(qos).unwrap_or(u8::MAX);
        refused(
            self.handle
                .borrow_mut()
                .publish(token, &topic, payload, qos, retain),
        )
    }

    /// The same for a message that says more about itself, or that is not worth sending after a while.
    #[napi(catch_unwind)]
    #[allow(clippy::too_many_arguments, reason = "those of publish, and two")]
    pub fn publish_with(
        &self,
        token: u32,
        topic: String,
        payload: &[u8],
        qos: u32,
        retain: bool,
        properties: NativeProperties,
        expires_in_ms: Option<f64>,
    ) -> Option<NativeFailure> {
        let qos = u8::try_from(qos).unwrap_or(u8::MAX);
        refused(self.handle.borrow_mut().publish_with(
            token,
            &topic,
            payload,
            qos,
            retain,
            properties.into(),
            expires_in_ms.map(millis),
        ))
    }

    /// Answers a record `CREDENTIALS`. `expires_at` tells one expiry from another, `expires_in_ms` is how far it is.
    #[napi(catch_unwind)]
    pub fn credentials(
        &self,
        attempt: u32,
        credentials: NativeCredentials,
        expires_at: Option<f64>,
        expires_in_ms: Option<f64>,
    ) {
        let expiry = expires_at.zip(expires_in_ms).map(|(at, after)| Expiry {
            id: at.to_bits(),
            after: millis(after),
        });
        self.handle
            .borrow_mut()
            .credentials(attempt, credentials.try_into(), expiry);
    }

    /// The same where there are none. Without `retryable` there never will be.
    #[napi(catch_unwind)]
    pub fn credentials_failed(&self, attempt: u32, message: String, retryable: bool) {
        let failure = Failure::new(Code::Credentials, Stage::Credentials, message);
        let failure = if retryable {
            failure
        } else {
            failure.for_good()
        };
        self.handle
            .borrow_mut()
            .credentials(attempt, Err(failure), None);
    }

    /// `ids` are the numbers under which messages name the filters; like `qos`, one for each.
    #[napi(catch_unwind)]
    pub fn subscribe(
        &self,
        token: u32,
        filters: Vec<String>,
        ids: Uint32Array,
        qos: &[u8],
    ) -> Option<NativeFailure> {
        let filters = filters
            .into_iter()
            .zip(ids.iter().zip(qos))
            .map(|(filter, (id, qos))| Filter {
                filter: filter.into(),
                id: *id,
                qos: *qos,
            })
            .collect();
        refused(self.handle.borrow_mut().subscribe(token, filters))
    }

    #[napi(catch_unwind)]
    pub fn unsubscribe(&self, token: u32, filters: Vec<String>) -> Option<NativeFailure> {
        let filters = filters.into_iter().map(Into::into).collect();
        refused(self.handle.borrow_mut().unsubscribe(token, filters))
    }

    /// Takes an operation back if nothing of it was sent.
    #[napi(catch_unwind)]
    pub fn withdraw(&self, token: u32) {
        self.handle.borrow_mut().withdraw(token);
    }

    /// Whether a filter matches a topic, by the rules of this connection.
    #[napi(catch_unwind)]
    pub fn matches(&self, filter: String, topic: String) -> bool {
        let parent_matches = self.handle.borrow().options().limits.parent_level_matches;
        filter_matches(&filter, &topic, parent_matches)
    }

    /// Gives credit back, and lets the PUBACKs of QoS 1 messages go.
    #[napi(catch_unwind)]
    pub fn consumed(&self, from: u32, count: u32) {
        self.handle.borrow_mut().consumed(from, count);
    }

    #[napi(catch_unwind)]
    pub fn disconnect(&self, timeout_ms: u32) {
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        self.handle.borrow_mut().disconnect(timeout);
    }

    /// Sends what was gathered since the last time.
    #[napi(catch_unwind)]
    pub fn flush(&self) {
        let mut handle = self.handle.borrow_mut();
        if !self.bell.allows_work() {
            handle.flush();
        } else if handle.flush_here() {
            self.bell.count_work();
        }
    }

    #[napi(catch_unwind)]
    pub fn stats(&self) -> NativeStats {
        let handle = self.handle.borrow();
        let number = |number| handle.shared().number(number) as f64;
        NativeStats {
            messages_sent: number(Number::MessagesSent),
            messages_received: number(Number::MessagesReceived),
            bytes_sent: number(Number::BytesSent),
            bytes_received: number(Number::BytesReceived),
            in_flight: number(Number::InFlight),
            queued: number(Number::Queued),
            dropped: number(Number::Dropped),
            paced_ms: number(Number::Paced),
            ping_micros: number(Number::Ping),
        }
    }
}

/// A panic leaves the cell borrowed at worst, which the next call turns into an exception.
impl RefUnwindSafe for NativeConnection {}

fn refused(result: engine::Result<()>) -> Option<NativeFailure> {
    result.err().map(NativeFailure::from)
}

/// Negative where the clock has passed it.
fn millis(count: f64) -> Duration {
    Duration::from_secs_f64((count / 1_000.0).clamp(0.0, 1e9))
}
