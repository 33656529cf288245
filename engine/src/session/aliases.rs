//! Topic aliases of one link (MQTT 5 section 3.3.2.3.4).

use crate::error::{Failure, Result};

/// How many aliases the server may use. A topic that has one costs its bytes once a link.
pub(super) const INBOUND_MAXIMUM: u16 = 32;
/// How many this side uses at the most; IoT Core allows 8.
const OUTBOUND_MAXIMUM: u16 = 32;

/// What the server calls its topics.
#[derive(Default)]
pub(super) struct Inbound {
    topics: Vec<Option<Box<str>>>,
}

impl Inbound {
    /// Takes note of what came with a message: a topic to remember, or none where the alias is to stand for it.
    pub(super) fn note(&mut self, topic: &str, alias: u16) -> Result<()> {
        if alias > INBOUND_MAXIMUM {
            return Err(Failure::protocol(format!(
                "the server sent topic alias {alias}; it was offered {INBOUND_MAXIMUM}"
            )));
        }
        let index = usize::from(alias) - 1;
        if !topic.is_empty() {
            if self.topics.len() <= index {
                self.topics.resize(index + 1, None);
            }
            self.topics[index] = Some(topic.into());
        } else if self.topic(alias).is_empty() {
            return Err(Failure::protocol(format!(
                "the server sent topic alias {alias} before it said what it stands for"
            )));
        }
        Ok(())
    }

    /// What a noted alias stands for.
    pub(super) fn topic(&self, alias: u16) -> &str {
        self.topics
            .get(usize::from(alias) - 1)
            .and_then(Option::as_deref)
            .unwrap_or_default()
    }
}

/// What this side calls its topics: the least recently used makes room.
#[derive(Default)]
pub(super) struct Outbound {
    maximum: u16,
    topics: Vec<Aliased>,
    uses: u64,
}

struct Aliased {
    topic: Box<str>,
    used: u64,
}

impl Outbound {
    /// `maximum` is what the server takes; 0 turns aliases off.
    pub(super) fn new(maximum: u16) -> Self {
        Self {
            maximum: maximum.min(OUTBOUND_MAXIMUM),
            ..Self::default()
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.maximum > 0
    }

    /// The alias to write with this topic, and whether the server knows it already.
    pub(super) fn assign(&mut self, topic: &str) -> (u16, bool) {
        self.uses += 1;
        if let Some(index) = self.topics.iter().position(|known| *known.topic == *topic) {
            self.topics[index].used = self.uses;
            return (index as u16 + 1, true);
        }
        let aliased = Aliased {
            topic: topic.into(),
            used: self.uses,
        };
        if self.topics.len() < usize::from(self.maximum) {
            self.topics.push(aliased);
            return (self.topics.len() as u16, false);
        }
        let oldest = self
            .topics
            .iter()
            .enumerate()
            .min_by_key(|(_, known)| known.used)
            .map_or(0, |(index, _)| index);
        self.topics[oldest] = aliased;
        (oldest as u16 + 1, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn an_alias_stands_for_the_topic_that_last_came_with_it() {
        let mut inbound = Inbound::default();
        for (topic, expected) in [("a", "a"), ("", "a"), ("b", "b"), ("", "b")] {
            inbound.note(topic, 2).unwrap();
            assert_eq!(inbound.topic(2), expected);
        }
    }

    #[test]
    fn an_alias_that_stands_for_nothing_or_was_not_offered_is_a_violation() {
        let mut inbound = Inbound::default();
        inbound.note("a", 2).unwrap();
        for (topic, alias) in [("", 1), ("", 3), ("a", INBOUND_MAXIMUM + 1)] {
            let failure = inbound.note(topic, alias).unwrap_err();
            assert_eq!(failure.code(), Code::Protocol);
        }
        assert!(inbound.note("a", INBOUND_MAXIMUM).is_ok());
    }

    #[test]
    fn the_least_recently_used_topic_gives_its_alias_up() {
        let mut outbound = Outbound::new(2);
        assert_eq!(outbound.assign("a"), (1, false));
        assert_eq!(outbound.assign("b"), (2, false));
        assert_eq!(outbound.assign("a"), (1, true));
        assert_eq!(outbound.assign("c"), (2, false));
        assert_eq!(outbound.assign("a"), (1, true));
        assert_eq!(outbound.assign("b"), (2, false));
    }

    #[test]
    fn without_leave_of_the_server_there_are_none() {
        assert!(!Outbound::new(0).is_on());
        assert!(Outbound::new(1).is_on());
    }
}
