//! One JavaScript environment: its door bell, and the list of connections that have something to tell.

use std::{
    cell::RefCell,
    collections::VecDeque,
    panic::RefUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use engine::Connected;
use napi::{
    Env, JsValue, Result, Status, Unknown,
    bindgen_prelude::{BufferSlice, Function, ToNapiValue, Uint32ArraySlice},
    sys,
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use napi_derive::napi;

use crate::{
    failure::NativeFailure,
    outbox::{Extent, Outbox, Records, Value, flag, kind},
    properties::NativeProperties,
};

/// Bytes of one arena: a message that the app keeps holds no more than this.
const ARENA_BYTES: usize = 8 * 1024;
/// Bytes of one batch, large payloads included: more would keep the event loop from everything else.
const BATCH_BYTES: usize = 1024 * 1024;
/// Words of one batch.
const BATCH_WORDS: usize = 4 * 1024;
/// The words before the first record: how many words there are, events and bytes, and whether to drain again.
const HEADER: usize = 4;

/// Many connections that send at once leave it to the network's thread: the event loop has other things to do.
const WORK_BETWEEN_DRAINS: u32 = 8;

type RingFunction = ThreadsafeFunction<(), (), (), Status, false, true, 0>;

/// Rings for a whole environment. libuv walks every handle on each wake, so one for each connection would cost them all.
pub(crate) struct Bell {
    ring: RingFunction,
    rung: AtomicBool,
    /// How often a connection's work was done on the JavaScript thread since that drained last.
    worked: AtomicU32,
    ready: Mutex<VecDeque<Arc<Outbox>>>,
    /// For the next outbox that has something: they take it in turn, so that an idle connection holds none.
    spare: Mutex<Records>,
}

impl Bell {
    /// Puts an outbox on the list, and rings if nobody has since the list was last empty.
    pub(crate) fn announce(&self, outbox: &Arc<Outbox>) {
        lock(&self.ready).push_back(outbox.clone());
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.ring();
        }
    }

    /// Whether one more connection may do its work on the JavaScript thread.
    pub(crate) fn allows_work(&self) -> bool {
        self.worked.load(Ordering::Relaxed) < WORK_BETWEEN_DRAINS
    }

    pub(crate) fn count_work(&self) {
        self.worked.fetch_add(1, Ordering::Relaxed);
    }

    /// Room for records.
    pub(crate) fn spare(&self) -> Records {
        std::mem::take(&mut lock(&self.spare))
    }

    fn keep(&self, records: Records) {
        if let Some(room) = records.emptied() {
            *lock(&self.spare) = room;
        }
    }

    fn ring(&self) {
        // An environment that is going away answers `Closing`: nobody is left to hear.
        let _status = self.ring.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }

    /// The next outbox with something in it. `None` arms the bell again.
    fn next(&self) -> Option<Arc<Outbox>> {
        let mut ready = lock(&self.ready);
        let next = ready.pop_front();
        if next.is_none() {
            self.rung.store(false, Ordering::Release);
        }
        next
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Made once by each environment that loads the package.
#[napi(js_name = "Environment")]
pub struct Environment {
    bell: Arc<Bell>,
    drain: RefCell<Drain>,
}

#[derive(Default)]
struct Drain {
    current: Option<Draining>,
    /// Room for a batch, before it is copied into memory of JavaScript's.
    words: Vec<u32>,
    arena: Vec<u8>,
}

/// Records that were taken from a connection and have not all crossed the boundary yet.
struct Draining {
    index: u32,
    records: Records,
    word: usize,
    byte: usize,
}

/// What crosses the boundary at a time, beside the words. The records, behind a header, are described in `outbox.rs`.
#[napi(object, object_from_js = false)]
pub struct Batch<'env> {
    /// The words of a record for which there is too little room.
    pub words: Option<Uint32ArraySlice<'env>>,
    /// Absent where the records have no bytes.
    pub arena: Option<BufferSlice<'env>>,
    /// Absent where there are none.
    pub values: Option<Vec<Unknown<'env>>>,
}

#[napi(object, object_from_js = false)]
pub struct NativeConnected {
    pub mqtt_version: u32,
    pub session_present: bool,
    pub keep_alive_seconds: u32,
    pub in_flight: u32,
    pub maximum_packet_size: Option<u32>,
    pub maximum_qos: u32,
    pub retain_available: bool,
    pub session_expiry_seconds: Option<u32>,
    pub topic_alias_maximum: u32,
    pub alpn_protocol: Option<String>,
}

#[napi]
impl Environment {
    /// `on_bell` is called when there is something to drain.
    #[napi(constructor, catch_unwind)]
    pub fn new(on_bell: Function<'_, (), ()>) -> Result<Self> {
        let ring = on_bell
            .build_threadsafe_function::<()>()
            .weak::<true>()
            .callee_handled::<false>()
            .build()?;
        let bell = Bell {
            ring,
            rung: AtomicBool::new(false),
            worked: AtomicU32::new(0),
            ready: Mutex::default(),
            spare: Mutex::default(),
        };
        Ok(Self {
            bell: Arc::new(bell),
            drain: RefCell::default(),
        })
    }

    /// The next batch, or nothing. Once nothing is left the bell rings again for what comes later. Its words go into
    /// `room`: memory of JavaScript's that is used again costs less than new memory for each batch.
    #[napi(catch_unwind)]
    pub fn drain<'env>(
        &self,
        env: &'env Env,
        mut room: BufferSlice<'_>,
    ) -> Result<Option<Batch<'env>>> {
        self.bell.worked.store(0, Ordering::Relaxed);
        let Drain {
            current,
            words,
            arena,
        } = &mut *self.drain.borrow_mut();
        // They are empty but after an error.
        words.clear();
        arena.clear();
        words.extend([0; HEADER]);
        let mut values = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        let more = loop {
            if current.is_none() {
                // With something in hand the rest can wait for the next call, which comes at once.
                let enough = words.len() >= BATCH_WORDS / 2 || arena.len() >= ARENA_BYTES / 2;
                if events > 0 && enough {
                    break true;
                }
                *current = self.bell.next().map(|outbox| Draining::new(&outbox));
            }
            let Some(draining) = current.as_mut() else {
                break false;
            };
            words.extend([kind::CONNECTION, draining.index]);
            let full = draining.advance(&mut |records, extent, word, byte| {
                if records.words[word] & 0xff == kind::MESSAGE
                    && records.words[word] & flag::DISCARDED != 0
                {
                    records.values.drain(..extent.values);
                    return Ok(false);
                }
                // A record larger than a batch gets one of its own size.
                let full = arena.len() + extent.bytes > ARENA_BYTES
                    || words.len() + extent.words > BATCH_WORDS
                    || bytes >= BATCH_BYTES;
                if events > 0 && full {
                    return Ok(true);
                }
                words.extend_from_slice(&records.words[word..word + extent.words]);
                arena.extend_from_slice(&records.bytes[byte..byte + extent.bytes]);
                bytes += extent.bytes;
                for value in records.values.drain(..extent.values) {
                    if let Value::Payload(payload) = &value {
                        bytes += payload.len();
                    }
                    values.push(value.into_unknown(env)?);
                }
                events += 1;
                Ok(false)
            })?;
            if full {
                break true;
            }
            if let Some(Draining { records, .. }) = current.take() {
                self.bell.keep(records);
            }
        };
        if events == 0 {
            return Ok(None);
        }
        let header = [words.len() as u32, events, bytes as u32, u32::from(more)];
        words[..HEADER].copy_from_slice(&header);
        let fits = size_of_val(words.as_slice()) <= room.len();
        if fits {
            for (room, word) in room.chunks_exact_mut(size_of::<u32>()).zip(&*words) {
                room.copy_from_slice(&word.to_ne_bytes());
            }
        }
        let batch = Batch {
            words: match fits {
                true => None,
                false => Some(Uint32ArraySlice::copy_from(env, &*words)?),
            },
            arena: match arena.is_empty() {
                true => None,
                false => Some(BufferSlice::copy_from(env, &*arena)?),
            },
            values: (!values.is_empty()).then_some(values),
        };
        words.clear();
        words.shrink_to(BATCH_WORDS);
        arena.clear();
        arena.shrink_to(ARENA_BYTES);
        Ok(Some(batch))
    }

    /// Whether the bell keeps the process alive.
    #[napi(catch_unwind)]
    pub fn hold(&self, env: &Env, hold: bool) {
        let ring = self.bell.ring.raw();
        // SAFETY: Node-API has no safe form of these calls that takes a shared reference. They need the thread of the
        // environment, which this is, since `env` was given to a call from JavaScript; and a function that is not
        // finalized, which `self` keeps from happening by owning it. Both only set a flag in the event loop's handle.
        let _status = unsafe {
            if hold {
                sys::napi_ref_threadsafe_function(env.raw(), ring)
            } else {
                sys::napi_unref_threadsafe_function(env.raw(), ring)
            }
        };
    }
}

impl Environment {
    pub(crate) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }
}

/// A panic leaves the cell at worst with records taken and not delivered.
impl RefUnwindSafe for Environment {}

impl Draining {
    fn new(outbox: &Outbox) -> Self {
        Self {
            index: outbox.index,
            records: outbox.take(),
            word: 0,
            byte: 0,
        }
    }

    /// Offers record after record until one is not taken; gives whether that happened.
    fn advance(
        &mut self,
        take: &mut impl FnMut(&mut Records, Extent, usize, usize) -> Result<bool>,
    ) -> Result<bool> {
        while self.word < self.records.words.len() {
            let extent = self.records.extent(self.word);
            if take(&mut self.records, extent, self.word, self.byte)? {
                return Ok(true);
            }
            self.word += extent.words;
            self.byte += extent.bytes;
        }
        Ok(false)
    }
}

impl Value {
    fn into_unknown<'env>(self, env: &'env Env) -> Result<Unknown<'env>> {
        match self {
            Self::Failure(failure) => NativeFailure::from(&failure).into_unknown(env),
            Self::Connected(connected) => NativeConnected::from(*connected).into_unknown(env),
            Self::Properties(properties) => NativeProperties::from(*properties).into_unknown(env),
            Self::Payload(payload) => Ok(BufferSlice::copy_from(env, &payload)?.to_unknown()),
        }
    }
}

impl From<Connected> for NativeConnected {
    fn from(connected: Connected) -> Self {
        Self {
            mqtt_version: match connected.version {
                engine::Version::V311 => 3,
                engine::Version::V5 => 5,
            },
            session_present: connected.session_present,
            keep_alive_seconds: u32::from(connected.keep_alive_seconds),
            in_flight: u32::from(connected.in_flight),
            maximum_packet_size: connected.maximum_packet_size,
            maximum_qos: u32::from(connected.maximum_qos),
            retain_available: connected.retain_available,
            session_expiry_seconds: connected.session_expiry_seconds,
            topic_alias_maximum: u32::from(connected.topic_alias_maximum),
            alpn_protocol: connected.alpn_protocol,
        }
    }
}
