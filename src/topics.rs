//! Topics that come again: JavaScript keeps their text, and a message names the place of it. Making a string of a topic
//! costs as much as the rest of a small message.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Places of a connection.
const PLACES: usize = 32;
/// A longer topic is not kept: IoT Core has none.
const LONGEST: usize = 256;

/// What both ends have kept. Without messages it takes no memory.
#[derive(Default)]
pub(crate) struct Topics {
    places: Option<Box<[Place; PLACES]>>,
}

#[derive(Default)]
struct Place {
    /// Of the topic that came here last.
    hash: u64,
    kept: Box<str>,
}

/// What JavaScript has of a topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing, and it may never come again.
    No,
    /// It is to keep the text at this place from now on.
    FromNow(u32),
    At(u32),
}

impl Topics {
    pub(crate) fn look(&mut self, topic: &str) -> Known {
        if topic.len() > LONGEST {
            return Known::No;
        }
        let mut hasher = DefaultHasher::new();
        topic.hash(&mut hasher);
        let hash = hasher.finish();
        let index = hash as usize % PLACES;
        let place = &mut self.places.get_or_insert_default()[index];
        if *place.kept == *topic {
            return Known::At(index as u32);
        }
        if place.hash != hash {
            place.hash = hash;
            return Known::No;
        }
        place.kept = topic.into();
        Known::FromNow(index as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_kept_when_it_comes_again() {
        let mut topics = Topics::default();
        assert_eq!(topics.look("a/b"), Known::No);
        let Known::FromNow(place) = topics.look("a/b") else {
            panic!("not kept");
        };
        assert_eq!(topics.look("a/b"), Known::At(place));
    }

    #[test]
    fn another_topic_takes_a_place_only_when_it_comes_twice_in_a_row() {
        let mut topics = Topics::default();
        let place = |topics: &mut Topics, topic: &str| match topics.look(topic) {
            Known::No => None,
            Known::FromNow(place) | Known::At(place) => Some(place),
        };
        place(&mut topics, "0");
        let first = place(&mut topics, "0").expect("kept");
        let rival = (1..1_000)
            .map(|number: u32| number.to_string())
            .find(|topic| {
                let mut alone = Topics::default();
                place(&mut alone, topic);
                place(&mut alone, topic) == Some(first)
            })
            .expect("one with the same place");
        assert_eq!(topics.look(&rival), Known::No);
        assert_eq!(topics.look("0"), Known::At(first));
        assert_eq!(topics.look(&rival), Known::FromNow(first));
        assert_eq!(topics.look("0"), Known::No);
        assert_eq!(topics.look("0"), Known::FromNow(first));
    }

    #[test]
    fn a_topic_longer_than_those_of_iot_core_is_not_kept() {
        let mut topics = Topics::default();
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(topics.look(&long), Known::No);
        assert_eq!(topics.look(&long), Known::No);
    }
}
