//! SUBSCRIBE and UNSUBSCRIBE: one operation of the host, as many packets as its filters need.

use std::ops::Range;

use bytes::BytesMut;

use super::{Filter, FilterId, subscriptions::Subscriptions};
use crate::{
    error::{Code, Failure, Stage},
    limits::quoted,
    reason::reason_name,
    wire::{SubAck, Version, encode_subscribe, encode_unsubscribe},
};

/// Which of the two a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Subscribe,
    Unsubscribe,
}

impl Kind {
    /// The packet that answers it.
    pub(super) fn answer(self) -> &'static str {
        match self {
            Self::Subscribe => "SUBACK",
            Self::Unsubscribe => "UNSUBACK",
        }
    }
}

/// One request, and what of its answer has come.
pub(super) struct Request {
    kind: Kind,
    filters: Vec<Requested>,
    per_packet: usize,
    codes: Vec<u8>,
    unanswered: usize,
    reason_string: Option<String>,
    /// The place in the order of what was first written; `None` as long as nothing was.
    pub(super) order: Option<u64>,
}

struct Requested {
    filter: Box<str>,
    id: FilterId,
    qos: u8,
    /// Its number among the requests for this filter.
    number: u64,
}

impl Request {
    pub(super) fn subscribe(filters: Vec<Filter>, per_packet: usize) -> Self {
        let requested = |Filter { filter, id, qos }| Requested {
            filter,
            id,
            qos,
            number: 0,
        };
        Self::new(
            Kind::Subscribe,
            filters.into_iter().map(requested).collect(),
            per_packet,
        )
    }

    pub(super) fn unsubscribe(filters: Vec<Box<str>>, per_packet: usize) -> Self {
        let requested = |filter| Requested {
            filter,
            id: 0,
            qos: 0,
            number: 0,
        };
        Self::new(
            Kind::Unsubscribe,
            filters.into_iter().map(requested).collect(),
            per_packet,
        )
    }

    fn new(kind: Kind, filters: Vec<Requested>, per_packet: usize) -> Self {
        Self {
            kind,
            codes: vec![0; filters.len()],
            unanswered: filters.len().div_ceil(per_packet),
            filters,
            per_packet,
            reason_string: None,
            order: None,
        }
    }

    /// Nothing of it counts any more: it is asked for anew on another link.
    pub(super) fn restart(&mut self) {
        self.codes.fill(0);
        self.unanswered = self.filters.len().div_ceil(self.per_packet);
        self.reason_string = None;
    }

    pub(super) fn filters(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|requested| &*requested.filter)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The filter at a place.
    pub(super) fn filter(&self, index: usize) -> &str {
        &self.filters[index].filter
    }

    /// What it takes of the budget.
    pub(super) fn size(&self) -> usize {
        self.filters
            .iter()
            .map(|requested| requested.filter.len())
            .sum()
    }

    /// First filter and number of filters of each packet.
    pub(super) fn packets(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (filters, per_packet) = (self.filters.len(), self.per_packet);
        (0..filters)
            .step_by(per_packet)
            .map(move |first| (first, per_packet.min(filters - first)))
    }

    /// It was accepted: from here on messages can match.
    pub(super) fn number(&mut self, subscriptions: &mut Subscriptions) {
        for requested in &mut self.filters {
            requested.number = match self.kind {
                Kind::Subscribe => {
                    subscriptions.insert(&requested.filter, requested.id, requested.qos)
                }
                Kind::Unsubscribe => {
                    subscriptions.leave(&requested.filter);
                    subscriptions.request(&requested.filter).unwrap_or_default()
                }
            };
        }
    }

    /// Writes the packet with these filters.
    pub(super) fn encode(
        &self,
        version: Version,
        packet_id: u16,
        filters: Range<usize>,
        out: &mut BytesMut,
    ) {
        let requested = self.filters[filters].iter();
        match self.kind {
            Kind::Subscribe => {
                let filters: Vec<(&str, u8)> = requested
                    .map(|wanted| (&*wanted.filter, wanted.qos))
                    .collect();
                encode_subscribe(version, packet_id, &filters, out);
            }
            Kind::Unsubscribe => {
                let filters: Vec<&str> = requested.map(|unwanted| &*unwanted.filter).collect();
                encode_unsubscribe(version, packet_id, &filters, out);
            }
        }
    }

    /// Notes the answer to the packet with these filters.
    pub(super) fn take_answer(
        &mut self,
        filters: Range<usize>,
        ack: &SubAck<'_>,
        subscriptions: &mut Subscriptions,
    ) {
        self.unanswered -= 1;
        self.reason_string = self.reason_string.take().or_else(|| ack.string.clone());
        for (code, answered) in self.codes[filters.clone()].iter_mut().zip(ack.codes) {
            *code = *answered;
        }
        for (requested, code) in self.filters[filters.clone()]
            .iter()
            .zip(&self.codes[filters])
        {
            match self.kind {
                Kind::Unsubscribe => subscriptions.remove(&requested.filter, requested.number),
                Kind::Subscribe if *code < 0x80 => {
                    subscriptions.grant(&requested.filter, requested.number)
                }
                Kind::Subscribe => subscriptions.refuse(&requested.filter, requested.number),
            }
        }
    }

    /// Nothing of it will be sent: what it asked for is not wanted, unless it was granted before.
    pub(super) fn withdraw(&self, subscriptions: &mut Subscriptions) {
        if self.kind == Kind::Subscribe {
            for requested in &self.filters {
                subscriptions.refuse(&requested.filter, requested.number);
            }
        }
    }

    /// Whether each of its packets is answered.
    pub(super) fn is_answered(&self) -> bool {
        self.unanswered == 0
    }

    /// The server's code for each filter.
    pub(super) fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// The server's own words, where it had any.
    pub(super) fn reason_string(&self) -> Option<&str> {
        self.reason_string.as_deref()
    }

    /// What to tell the host if the server refused a filter.
    pub(super) fn refusal(&self) -> Option<Failure> {
        let first = self.codes.iter().copied().find(|code| *code >= 0x80)?;
        let refused: Vec<String> = self
            .filters
            .iter()
            .zip(&self.codes)
            .filter(|(_, code)| **code >= 0x80)
            .map(|(requested, code)| {
                format!(
                    "{}: {} (0x{code:02x})",
                    quoted(&requested.filter),
                    reason_name(*code)
                )
            })
            .collect();
        let message = format!(
            "the server refused {} of {} filters: {}",
            refused.len(),
            self.filters.len(),
            refused.join("; ")
        );
        let failure = Failure::new(Code::SubscribeRejected, Stage::Operation, message);
        Some(failure.with_reason(first, self.reason_string.clone()))
    }
}
