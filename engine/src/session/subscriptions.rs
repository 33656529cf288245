//! The topic filters that the app uses, and which of them a message belongs to.

use std::collections::{BTreeMap, HashSet};

/// The number under which the host knows a filter.
pub type FilterId = u32;

/// All filters asked for and not given up, by their text.
#[derive(Default)]
pub(super) struct Subscriptions {
    filters: BTreeMap<Box<str>, Entry>,
    /// Those with a wildcard or a share name; the others are found by their text.
    patterns: Vec<(Box<str>, FilterId)>,
    /// Counts what was asked for, so that the answer to an earlier request does not undo a later one.
    requests: u64,
    /// Whether `a/#` matches `a` too: so in MQTT (5, section 4.7.1.2), not in IoT Core.
    parent_matches: bool,
}

struct Entry {
    id: FilterId,
    /// As it was last asked for.
    qos: u8,
    /// An UNSUBSCRIBE is on its way.
    leaving: bool,
    request: u64,
    /// The first request that the server has granted and not refused since.
    granted: Option<u64>,
    /// Whether the latest request has an answer.
    answered: bool,
}

impl Subscriptions {
    pub(super) fn new(parent_matches: bool) -> Self {
        Self {
            parent_matches,
            ..Self::default()
        }
    }

    /// A filter is about to be asked for. Gives the number of the request.
    pub(super) fn insert(&mut self, filter: &str, id: FilterId, qos: u8) -> u64 {
        self.requests += 1;
        let request = self.requests;
        match self.filters.get_mut(filter) {
            Some(entry) => {
                entry.request = request;
                entry.answered = false;
                entry.qos = qos;
                entry.leaving = false;
                if entry.id != id {
                    let known = std::mem::replace(&mut entry.id, id);
                    for pattern in self
                        .patterns
                        .iter_mut()
                        .filter(|(_, other)| *other == known)
                    {
                        pattern.1 = id;
                    }
                }
            }
            None => {
                self.filters.insert(
                    filter.into(),
                    Entry {
                        id,
                        qos,
                        leaving: false,
                        request,
                        granted: None,
                        answered: false,
                    },
                );
                if is_pattern(filter) {
                    self.patterns.push((filter.into(), id));
                }
            }
        }
        request
    }

    /// The number of the latest request for a filter.
    pub(super) fn request(&self, filter: &str) -> Option<u64> {
        self.filters.get(filter).map(|entry| entry.request)
    }

    /// The server has granted the filter.
    pub(super) fn grant(&mut self, filter: &str, request: u64) {
        if let Some(entry) = self.filters.get_mut(filter) {
            entry.granted.get_or_insert(request);
            entry.answered |= entry.request == request;
        }
    }

    /// The server has refused the filter. The grant of an earlier request stands; one of the same request does not,
    /// which was asked for once more on another link.
    pub(super) fn refuse(&mut self, filter: &str, request: u64) {
        let Some(entry) = self.filters.get_mut(filter) else {
            return;
        };
        entry.answered |= entry.request == request;
        if entry.granted == Some(request) {
            entry.granted = None;
        }
        if entry.granted.is_none() {
            self.remove(filter, request);
        }
    }

    /// How many filters there are, and would be with these.
    pub(super) fn count_with<'a>(&self, filters: impl Iterator<Item = &'a str>) -> usize {
        let stays = |filter: &str| self.filters.get(filter).is_some_and(|entry| !entry.leaving);
        let new: HashSet<&str> = filters.filter(|filter| !stays(filter)).collect();
        self.filters.values().filter(|entry| !entry.leaving).count() + new.len()
    }

    /// A filter is about to be given up: what is asked for behind that has its place.
    pub(super) fn leave(&mut self, filter: &str) {
        if let Some(entry) = self.filters.get_mut(filter) {
            entry.leaving = true;
        }
    }

    /// Number and QoS of a filter.
    pub(super) fn get(&self, filter: &str) -> Option<(FilterId, u8)> {
        self.filters.get(filter).map(|entry| (entry.id, entry.qos))
    }

    /// Every filter that the server has granted, in the order in which they were asked for.
    pub(super) fn granted(&self) -> Vec<Box<str>> {
        let mut granted: Vec<(&Box<str>, u64)> = self
            .filters
            .iter()
            .filter(|(_, entry)| entry.granted.is_some())
            .map(|(filter, entry)| (filter, entry.request))
            .collect();
        granted.sort_unstable_by_key(|(_, request)| *request);
        granted
            .into_iter()
            .map(|(filter, _)| filter.clone())
            .collect()
    }

    /// The server has refused to make a subscription again, or has closed for it: it is gone. If it was asked for
    /// since, the answer to that decides.
    pub(super) fn lose(&mut self, filter: &str) -> Option<FilterId> {
        let entry = self.filters.get_mut(filter)?;
        let (id, request) = (entry.id, entry.request);
        entry.granted = None;
        if entry.answered {
            self.remove(filter, request);
        }
        Some(id)
    }

    /// The filter was given up, unless it was asked for again since `request`.
    pub(super) fn remove(&mut self, filter: &str, request: u64) {
        if self.request(filter) == Some(request) {
            self.filters.remove(filter);
            self.patterns.retain(|(pattern, _)| **pattern != *filter);
        }
    }

    /// The filters that match `topic`, appended to `into`.
    pub(super) fn matching(&self, topic: &str, into: &mut Vec<FilterId>) {
        if let Some(entry) = self.filters.get(topic) {
            into.push(entry.id);
        }
        for (pattern, id) in &self.patterns {
            if filter_matches(pattern, topic, self.parent_matches) {
                into.push(*id);
            }
        }
    }
}

fn is_pattern(filter: &str) -> bool {
    filter.contains(['+', '#']) || filter.starts_with("$share/")
}

/// Whether a filter matches a topic (MQTT 5 section 4.7). `parent_matches` says whether `a/#` matches `a` too.
pub fn filter_matches(filter: &str, topic: &str, parent_matches: bool) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_name, filter)| filter),
        None => filter,
    };
    // Section 4.7.2: what starts with $ is matched by no leading wildcard.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    let mut wanted = filter.split('/').peekable();
    while let Some(want) = wanted.next() {
        if want == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if want == "+" || want == level => {}
            _ => return false,
        }
        // `a/#` against `a`: the topic ends where only the wildcard is left.
        if levels.clone().next().is_none() && wanted.peek() == Some(&"#") {
            return parent_matches;
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(subscriptions: &Subscriptions, topic: &str) -> Vec<FilterId> {
        let mut ids = Vec::new();
        subscriptions.matching(topic, &mut ids);
        ids
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("a/+", "a/", true),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a/", true),
            ("a/#", "ab", false),
            ("#", "a/b", true),
            ("#", "$aws/x", false),
            ("+/x", "$aws/x", false),
            ("$aws/#", "$aws/x", true),
            ("a/+/c/#", "a/b/c/d", true),
            ("$share/g/a/+", "a/b", true),
            ("$share/g/a/+", "g/a/b", false),
            ("$share/g/#", "$aws/x", false),
        ] {
            assert_eq!(
                filter_matches(filter, topic, true),
                expected,
                "{filter} {topic}"
            );
        }
    }

    #[test]
    fn the_parent_level_matches_in_mqtt_and_not_in_iot_core() {
        for (filter, topic) in [("a/#", "a"), ("a/+/#", "a/b")] {
            assert!(filter_matches(filter, topic, true), "{filter} {topic}");
            assert!(!filter_matches(filter, topic, false), "{filter} {topic}");
        }
    }

    #[test]
    fn every_filter_that_matches_is_named() {
        let mut subscriptions = Subscriptions::new(true);
        subscriptions.insert("a/b", 1, 1);
        subscriptions.insert("a/+", 2, 1);
        subscriptions.insert("c", 3, 1);
        assert_eq!(matching(&subscriptions, "a/b"), [1, 2]);
        assert_eq!(matching(&subscriptions, "c"), [3]);
        assert_eq!(matching(&subscriptions, "d"), []);
    }

    #[test]
    fn a_refusal_leaves_an_earlier_grant() {
        let mut subscriptions = Subscriptions::new(true);
        let first = subscriptions.insert("a", 1, 1);
        subscriptions.grant("a", first);
        let again = subscriptions.insert("a", 1, 1);
        subscriptions.refuse("a", again);
        assert_eq!(matching(&subscriptions, "a"), [1]);
        let other = subscriptions.insert("b", 2, 1);
        subscriptions.refuse("b", other);
        assert_eq!(matching(&subscriptions, "b"), []);
    }

    #[test]
    fn giving_up_a_filter_does_not_undo_a_later_request_for_it() {
        let mut subscriptions = Subscriptions::new(true);
        let first = subscriptions.insert("a/+", 1, 1);
        subscriptions.insert("a/+", 2, 1);
        subscriptions.remove("a/+", first);
        assert_eq!(matching(&subscriptions, "a/b"), [2]);
        let latest = subscriptions.request("a/+").expect("present");
        subscriptions.remove("a/+", latest);
        assert_eq!(matching(&subscriptions, "a/b"), []);
    }

    #[test]
    fn only_what_was_granted_is_made_again_in_the_order_asked() {
        let mut subscriptions = Subscriptions::new(true);
        for (filter, id) in [("b", 1), ("a", 2)] {
            let request = subscriptions.insert(filter, id, 1);
            subscriptions.grant(filter, request);
        }
        subscriptions.insert("c", 3, 1);
        assert_eq!(subscriptions.granted(), ["b".into(), "a".into()]);
        assert_eq!(subscriptions.lose("b"), Some(1));
        assert_eq!(subscriptions.granted(), ["a".into()]);
    }

    #[test]
    fn filters_are_counted_once() {
        let mut subscriptions = Subscriptions::new(true);
        subscriptions.insert("a", 1, 1);
        let count = subscriptions.count_with(["a", "b", "b", "c"].into_iter());
        assert_eq!(count, 3);
    }
}
