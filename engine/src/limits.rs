//! What IoT Core and MQTT allow, checked before a packet is accepted.
//!
//! Numbers: AWS General Reference, "AWS IoT Core endpoints and quotas", message broker and protocol limits.

use std::{ops::RangeInclusive, time::Duration};

use crate::error::{Code, Failure, Result, Stage};

/// MQTT's own bound of every string and of a topic (MQTT 5 section 1.5.4).
const MAX_STRING_BYTES: usize = 65_535;
/// The largest Remaining Length (MQTT 5 section 1.5.5).
const MAX_REMAINING_LENGTH: usize = 268_435_455;
/// Basic Ingest: what stands before the rule's own topic does not count.
const BASIC_INGEST_PREFIX: &str = "$aws/rules/";

/// One set of limits. Everything that depends on the server's quotas reads its numbers here.
#[derive(Clone, Debug)]
pub struct Limits {
    pub payload_bytes: usize,
    pub topic_bytes: usize,
    pub topic_slashes: usize,
    pub client_id_bytes: usize,
    pub keep_alive_seconds: RangeInclusive<u16>,
    /// QoS 1 publishes that may wait for their PUBACK at a time.
    pub in_flight: u16,
    pub filters_per_subscribe: usize,
    /// Topic filters on one connection.
    pub subscriptions: Option<usize>,
    /// Publishes on one connection, in and out. What exceeds it is discarded without a word.
    pub publishes_per_second: Option<u32>,
    /// Bytes on one connection, in and out.
    pub bytes_per_second: Option<u32>,
    /// Between two CONNECTs of one client id.
    pub connect_interval: Duration,
    /// Whether the filter `a/#` matches the topic `a` too.
    pub parent_level_matches: bool,
}

impl Limits {
    /// Those of AWS IoT Core.
    pub const AWS_IOT_CORE: Self = Self {
        payload_bytes: 128 * 1024,
        topic_bytes: 256,
        topic_slashes: 7,
        client_id_bytes: 128,
        keep_alive_seconds: 30..=1_200,
        in_flight: 100,
        filters_per_subscribe: 8,
        subscriptions: Some(50),
        publishes_per_second: Some(100),
        bytes_per_second: Some(512 * 1024),
        connect_interval: Duration::from_secs(1),
        parent_level_matches: false,
    };

    /// Those of MQTT alone.
    pub const NONE: Self = Self {
        payload_bytes: MAX_REMAINING_LENGTH - MAX_STRING_BYTES - 16,
        topic_bytes: MAX_STRING_BYTES,
        topic_slashes: usize::MAX,
        client_id_bytes: MAX_STRING_BYTES,
        keep_alive_seconds: 0..=u16::MAX,
        in_flight: u16::MAX,
        filters_per_subscribe: 8,
        subscriptions: None,
        publishes_per_second: None,
        bytes_per_second: None,
        connect_interval: Duration::ZERO,
        parent_level_matches: true,
    };

    /// Whether a message can be published on `topic`.
    pub fn check_topic(&self, topic: &str) -> Result<()> {
        if topic.contains(['+', '#']) {
            return Err(topic_failure(
                topic,
                "holds a wildcard; messages are published on one topic",
            ));
        }
        let counted = topic
            .strip_prefix(BASIC_INGEST_PREFIX)
            .and_then(|rest| rest.split_once('/'))
            .map_or(topic, |(_rule, rest)| rest);
        self.check_levels(topic, counted)
    }

    /// Whether `filter` is a topic filter (MQTT 5 section 4.7), shared subscriptions included (4.8.2).
    pub fn check_filter(&self, filter: &str) -> Result<()> {
        let counted = match filter.strip_prefix("$share/") {
            None => filter,
            Some(shared) => match shared.split_once('/') {
                Some((name, rest)) if !name.is_empty() && !name.contains(['+', '#']) => rest,
                _ => {
                    return Err(topic_failure(
                        filter,
                        "is no shared subscription of the form $share/<name>/<filter>",
                    ));
                }
            },
        };
        self.check_levels(filter, counted)?;
        let mut levels = counted.split('/').peekable();
        while let Some(level) = levels.next() {
            let misplaced = match level {
                "+" => false,
                "#" => levels.peek().is_some(),
                _ => level.contains(['+', '#']),
            };
            if misplaced {
                return Err(topic_failure(
                    filter,
                    "has a wildcard in the wrong place: + stands for a whole level, # for all levels at the end",
                ));
            }
        }
        Ok(())
    }

    /// Whether the server takes a payload of this size.
    pub fn check_payload(&self, bytes: usize, topic: &str) -> Result<()> {
        if bytes <= self.payload_bytes {
            return Ok(());
        }
        Err(Failure::new(
            Code::PayloadTooLarge,
            Stage::Operation,
            format!(
                "the payload for topic {} has {bytes} bytes; at most {} are allowed",
                quoted(topic),
                self.payload_bytes
            ),
        ))
    }

    fn check_levels(&self, whole: &str, counted: &str) -> Result<()> {
        if counted.is_empty() {
            return Err(topic_failure(whole, "is empty"));
        }
        if whole.contains('\0') {
            return Err(topic_failure(whole, "holds a NUL character"));
        }
        if counted.len() > self.topic_bytes || whole.len() > MAX_STRING_BYTES {
            let message = format!(
                "has {} bytes; at most {} are allowed",
                counted.len(),
                self.topic_bytes
            );
            return Err(topic_failure(whole, &message));
        }
        let slashes = counted.bytes().filter(|byte| *byte == b'/').count();
        if slashes > self.topic_slashes {
            let message = format!(
                "has {slashes} slashes; at most {} are allowed",
                self.topic_slashes
            );
            return Err(topic_failure(whole, &message));
        }
        Ok(())
    }
}

/// A topic as it may stand in a message: in quotes, control characters escaped, cut where it is long.
pub fn quoted(topic: &str) -> String {
    const SHOWN: usize = 80;
    match topic.char_indices().nth(SHOWN) {
        None => format!("{topic:?}"),
        Some((end, _)) => format!("{:?}...", &topic[..end]),
    }
}

fn topic_failure(topic: &str, what: &str) -> Failure {
    Failure::new(
        Code::InvalidTopic,
        Stage::Operation,
        format!("topic {} {what}", quoted(topic)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic_code(limits: &Limits, topic: &str) -> Option<Code> {
        limits
            .check_topic(topic)
            .err()
            .map(|failure| failure.code())
    }

    #[test]
    fn a_topic_of_256_bytes_and_7_slashes_passes() {
        let topic = format!("a/b/c/d/e/f/g/{}", "x".repeat(242));
        assert_eq!(topic.len(), 256);
        assert_eq!(topic_code(&Limits::AWS_IOT_CORE, &topic), None);
    }

    #[test]
    fn one_byte_or_one_slash_more_is_refused() {
        for topic in ["x".repeat(257), "a/b/c/d/e/f/g/h/i".to_owned()] {
            assert_eq!(
                topic_code(&Limits::AWS_IOT_CORE, &topic),
                Some(Code::InvalidTopic)
            );
            assert_eq!(topic_code(&Limits::NONE, &topic), None);
        }
    }

    #[test]
    fn wildcards_nul_and_nothing_are_no_topics() {
        for topic in ["a/+", "#", "", "a\0b"] {
            assert_eq!(
                topic_code(&Limits::NONE, topic),
                Some(Code::InvalidTopic),
                "{topic:?}"
            );
        }
    }

    #[test]
    fn the_prefixes_of_basic_ingest_and_shared_subscriptions_do_not_count() {
        let levels = "a/b/c/d/e/f/g/h";
        assert_eq!(
            topic_code(&Limits::AWS_IOT_CORE, &format!("$aws/rules/r/{levels}")),
            None
        );
        assert!(
            Limits::AWS_IOT_CORE
                .check_filter(&format!("$share/g/{levels}"))
                .is_ok()
        );
    }

    #[test]
    fn wildcards_stand_for_whole_levels() {
        for filter in ["#", "+", "a/+/c", "a/#", "+/+/#", "$share/g/a/#", "/"] {
            assert!(Limits::NONE.check_filter(filter).is_ok(), "{filter}");
        }
        for filter in [
            "a#",
            "a/#/b",
            "a+/b",
            "",
            "$share/g",
            "$share//a",
            "$share/+/a",
            "$share/g/",
        ] {
            assert!(Limits::NONE.check_filter(filter).is_err(), "{filter}");
        }
    }

    #[test]
    fn a_long_topic_is_cut_in_messages() {
        let message = Limits::AWS_IOT_CORE
            .check_topic(&"é".repeat(300))
            .expect_err("too long");
        assert!(message.message().len() < 300);
    }
}
