//! Publishes as JavaScript hands them over: those of one turn of its microtasks together, since each call across the
//! boundary costs more than the message. The other end is `lib/inbox.ts`.

use engine::{Code, Failure, Handle, Result, Stage, Topic};

/// The words of a record: token, flags and place, topic bytes, payload bytes. Topic and payload are in the bytes.
const WORDS: usize = 4;
/// In the second word, the place of a kept topic in its upper 24 bits.
mod flag {
    pub(super) const QOS1: u32 = 1;
    pub(super) const RETAIN: u32 = 1 << 1;
    /// The topic is the one at this place, and not among the bytes.
    pub(super) const KEPT: u32 = 1 << 2;
    /// The topic is to be kept at this place.
    pub(super) const KEEP: u32 = 1 << 3;
}
/// Places for topics.
const PLACES: usize = 32;

/// The inbox of a connection: the topics that come again, or why nothing can be published on them.
#[derive(Default)]
pub(crate) struct Inbox {
    topics: Vec<Result<Topic>>,
}

impl Inbox {
    /// Publishes every record; `refused` hears of those that are not accepted.
    pub(crate) fn publish(
        &mut self,
        words: &[u32],
        mut bytes: &[u8],
        handle: &mut Handle,
        mut refused: impl FnMut(u32, Failure),
    ) {
        for record in words.chunks_exact(WORDS) {
            let (token, flags) = (record[0], record[1]);
            let topic = take(&mut bytes, record[2]);
            let payload = take(&mut bytes, record[3]);
            if let Err(failure) = self.publish_one(token, flags, topic, payload, handle) {
                refused(token, failure);
            }
        }
    }

    fn publish_one(
        &mut self,
        token: u32,
        flags: u32,
        topic: &[u8],
        payload: &[u8],
        handle: &mut Handle,
    ) -> Result<()> {
        let qos = u8::from(flags & flag::QOS1 != 0);
        let retain = flags & flag::RETAIN != 0;
        let place = (flags >> 8) as usize;
        if flags & flag::KEPT == 0 {
            let topic = std::str::from_utf8(topic).map_err(|_| malformed())?;
            if flags & flag::KEEP == 0 || place != self.topics.len() || place >= PLACES {
                return handle.publish(token, topic, payload, qos, retain);
            }
            self.topics.push(handle.topic(topic));
        }
        let topic = self.topics.get(place).ok_or_else(malformed)?;
        let topic = topic.as_ref().map_err(Failure::clone)?;
        handle.publish_on(token, topic, payload, qos, retain)
    }
}

/// So many of the bytes, or what is left.
fn take<'a>(bytes: &mut &'a [u8], length: u32) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(bytes.len().min(length as usize));
    *bytes = rest;
    taken
}

fn malformed() -> Failure {
    Failure::new(
        Code::Internal,
        Stage::Operation,
        "a batch of publishes is malformed",
    )
}
