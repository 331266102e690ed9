//! The server's own counters and histograms: what `/metrics` shows.
//!
//! They see the engine's events, either at once or, as some servers do, a while
//! after they happened.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use phasegate_core::Tick;

use super::histogram::{Histogram, INTER_TOKEN, REQUEST, TTFT, token_bounds};
use super::truth::Finish;

/// Something that the counters count.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A request was looked up in the prefix cache.
    Cache { queries: u32, hits: u32 },
    /// A prompt was computed; `ttft` is there if it led to a token.
    Prefilled { prompt_tokens: u32, ttft: Option<Duration> },
    /// A token was computed, so long after the one before.
    Token { gap: Option<Duration> },
    /// A request left the engine; only a finished one has a life to observe.
    Left { how: Finish, life: Option<Life> },
    /// An HTTP request was answered.
    Http { handler: &'static str, method: &'static str, status: u16 },
}

/// The parts of a finished request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Life {
    pub(crate) queue: Duration,
    pub(crate) prefill: Duration,
    pub(crate) decode: Duration,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
    pub(crate) max_tokens: Option<u32>,
}

/// The counters and histograms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counters {
    max_model_len: u32,
    /// When the process began that counts here.
    pub(crate) began_at: Tick,
    pub(crate) prompt_tokens: u64,
    pub(crate) generation_tokens: u64,
    pub(crate) success: [u64; Finish::ALL.len()],
    pub(crate) cache_queries: u64,
    pub(crate) cache_hits: u64,
    pub(crate) http: BTreeMap<(&'static str, &'static str, u16), u64>,
    pub(crate) ttft: Histogram,
    pub(crate) inter_token: Histogram,
    pub(crate) per_output_token: Histogram,
    pub(crate) e2e: Histogram,
    pub(crate) queue: Histogram,
    pub(crate) inference: Histogram,
    pub(crate) prefill: Histogram,
    pub(crate) decode: Histogram,
    pub(crate) request_prompt_tokens: Histogram,
    pub(crate) request_generation_tokens: Histogram,
    pub(crate) request_max_tokens: Histogram,
}

impl Counters {
    pub(crate) fn new(max_model_len: u32) -> Self {
        let tokens = token_bounds(max_model_len);
        Self {
            max_model_len,
            began_at: Tick::ZERO,
            prompt_tokens: 0,
            generation_tokens: 0,
            success: [0; Finish::ALL.len()],
            cache_queries: 0,
            cache_hits: 0,
            http: BTreeMap::new(),
            ttft: Histogram::new(TTFT),
            inter_token: Histogram::new(INTER_TOKEN),
            per_output_token: Histogram::new(INTER_TOKEN),
            e2e: Histogram::new(REQUEST),
            queue: Histogram::new(REQUEST),
            inference: Histogram::new(REQUEST),
            prefill: Histogram::new(REQUEST),
            decode: Histogram::new(REQUEST),
            request_prompt_tokens: Histogram::new(&tokens),
            request_generation_tokens: Histogram::new(&tokens),
            request_max_tokens: Histogram::new(&tokens),
        }
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::Cache { queries, hits } => {
                self.cache_queries += u64::from(*queries);
                self.cache_hits += u64::from(*hits);
            }
            Event::Prefilled { prompt_tokens, ttft } => {
                self.prompt_tokens += u64::from(*prompt_tokens);
                if let Some(ttft) = ttft {
                    self.ttft.observe(ttft.as_secs_f64());
                }
            }
            Event::Token { gap } => {
                self.generation_tokens += 1;
                if let Some(gap) = gap {
                    self.inter_token.observe(gap.as_secs_f64());
                }
            }
            Event::Left { how, life } => {
                self.success[*how as usize] += 1;
                if let Some(life) = life {
                    self.observe(life);
                }
            }
            Event::Http { handler, method, status } => {
                *self.http.entry((handler, method, status / 100)).or_default() += 1;
            }
        }
    }

    fn observe(&mut self, life: &Life) {
        let inference = life.prefill + life.decode;
        self.queue.observe(life.queue.as_secs_f64());
        self.prefill.observe(life.prefill.as_secs_f64());
        self.decode.observe(life.decode.as_secs_f64());
        self.inference.observe(inference.as_secs_f64());
        self.e2e.observe((life.queue + inference).as_secs_f64());
        self.request_prompt_tokens.observe(f64::from(life.prompt_tokens));
        self.request_generation_tokens.observe(f64::from(life.output_tokens));
        if life.output_tokens > 1 {
            let gaps = f64::from(life.output_tokens - 1);
            self.per_output_token.observe(life.decode.as_secs_f64() / gaps);
        }
        if let Some(max_tokens) = life.max_tokens {
            self.request_max_tokens.observe(f64::from(max_tokens));
        }
    }
}

/// Events that may wait for their publication. Beyond, the oldest are published
/// early, so that a long delay cannot take all memory.
const WAITING: usize = 1_000_000;

/// How long after an event it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lag {
    /// What is counted when a request is over.
    pub(crate) requests: Duration,
    /// What is counted with its tokens.
    pub(crate) tokens: Duration,
}

/// The counters as they are published: all events, or those old enough.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    counters: Counters,
    requests: Late,
    tokens: Late,
}

/// Events that are published together, so long after they happened.
#[derive(Debug, Clone, Default)]
struct Late {
    lag: Duration,
    waiting: VecDeque<(Tick, Event)>,
}

impl Late {
    /// Takes an event; one that is published now comes back.
    fn push(&mut self, at: Tick, event: Event) -> Option<Event> {
        if self.lag.is_zero() {
            return Some(event);
        }
        self.waiting.push_back((at + self.lag, event));
        if self.waiting.len() > WAITING { self.waiting.pop_front().map(|(_, e)| e) } else { None }
    }

    fn pop(&mut self, now: Tick) -> Option<Event> {
        let due = self.waiting.front().is_some_and(|(due, _)| *due <= now);
        due.then(|| self.waiting.pop_front()).flatten().map(|(_, event)| event)
    }
}

impl Publisher {
    pub(crate) fn new(max_model_len: u32, lag: Lag) -> Self {
        let late = |lag| Late { lag, waiting: VecDeque::new() };
        Self {
            counters: Counters::new(max_model_len),
            requests: late(lag.requests),
            tokens: late(lag.tokens),
        }
    }

    /// Something happened at `at`.
    pub(crate) fn push(&mut self, at: Tick, event: Event) {
        let late = match event {
            Event::Cache { .. } | Event::Prefilled { .. } | Event::Token { .. } => &mut self.tokens,
            Event::Left { .. } | Event::Http { .. } => &mut self.requests,
        };
        if let Some(event) = late.push(at, event) {
            self.counters.count(&event);
        }
    }

    /// The counters begin anew: what was not published yet is lost with what
    /// was. With `process` that is another process, which began at `at`.
    pub(crate) fn reset(&mut self, at: Tick, process: bool) {
        self.requests.waiting.clear();
        self.tokens.waiting.clear();
        let began_at = if process { at } else { self.counters.began_at };
        self.counters = Counters { began_at, ..Counters::new(self.counters.max_model_len) };
    }

    /// What is published at `now`.
    pub(crate) fn published(&mut self, now: Tick) -> &Counters {
        for late in [&mut self.requests, &mut self.tokens] {
            while let Some(event) = late.pop(now) {
                self.counters.count(&event);
            }
        }
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(requests: u64, tokens: u64) -> Lag {
        Lag { requests: Duration::from_millis(requests), tokens: Duration::from_millis(tokens) }
    }

    #[test]
    fn tokens_can_be_later_than_the_request_they_belong_to() {
        let mut publisher = Publisher::new(100, late(0, 300));
        publisher.push(Tick::from_millis(10), Event::Token { gap: None });
        publisher.push(Tick::from_millis(10), Event::Left { how: Finish::Length, life: None });
        let shown = |publisher: &mut Publisher, ms| {
            let counters = publisher.published(Tick::from_millis(ms));
            (counters.success[1], counters.generation_tokens)
        };
        assert_eq!(shown(&mut publisher, 10), (1, 0));
        assert_eq!(shown(&mut publisher, 310), (1, 1));
    }

    #[test]
    fn what_was_not_published_is_lost_with_a_process() {
        let mut publisher = Publisher::new(100, late(0, 300));
        publisher.push(Tick::from_millis(10), Event::Token { gap: None });
        publisher.reset(Tick::from_millis(20), true);
        publisher.push(Tick::from_millis(30), Event::Token { gap: None });
        let counters = publisher.published(Tick::from_millis(1000));
        assert_eq!((counters.generation_tokens, counters.began_at), (1, Tick::from_millis(20)));
    }

    #[test]
    fn a_delayed_event_is_published_when_it_is_due() {
        let mut publisher = Publisher::new(100, late(500, 500));
        publisher.push(Tick::from_millis(10), Event::Token { gap: None });
        publisher.push(Tick::from_millis(20), Event::Token { gap: None });
        assert_eq!(publisher.published(Tick::from_millis(509)).generation_tokens, 0);
        assert_eq!(publisher.published(Tick::from_millis(510)).generation_tokens, 1);
        assert_eq!(publisher.published(Tick::from_millis(999)).generation_tokens, 2);
    }

    #[test]
    fn a_finished_request_is_observed_once_in_each_histogram() {
        let mut publisher = Publisher::new(100, Lag::default());
        let life = Life {
            queue: Duration::from_secs(1),
            prefill: Duration::from_secs(2),
            decode: Duration::from_secs(4),
            prompt_tokens: 7,
            output_tokens: 5,
            max_tokens: Some(5),
        };
        publisher.push(Tick::ZERO, Event::Left { how: Finish::Length, life: Some(life) });
        let counters = publisher.published(Tick::ZERO);
        let sums = [&counters.e2e, &counters.inference, &counters.per_output_token]
            .map(|histogram| (histogram.count(), histogram.sum()));
        assert_eq!(sums, [(1, 7.0), (1, 6.0), (1, 1.0)]);
        assert_eq!(counters.success, [0, 1, 0, 0]);
    }
}
