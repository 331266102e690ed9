//! Settling by the client's tally.

use super::*;
use crate::engines::{Count, Engine, Part, Unit};

/// So many requests completed, failed; each completed one with 10 prompt tokens.
fn tally(completed: u64, errors: u64) -> Tally {
    Tally {
        sent: completed + errors,
        completed,
        errors,
        prompt_tokens: Some(10 * completed),
        ..Tally::default()
    }
}

fn count(family: &str, unit: Unit, value: f64) -> Count {
    Count { engine: Engine::Vllm, family: family.to_owned().into(), part: Part::Value, unit, value }
}

/// A server that shows so many requests and prompt tokens.
fn shows(requests: f64, tokens: f64) -> Observed {
    Observed {
        counts: vec![
            count("vllm:prompt_tokens", Unit::PromptTokens, tokens),
            count("vllm:request_success", Unit::Requests, requests),
        ],
        busy: vec![("vllm:num_requests_running".to_owned(), 0.0)],
        others: 0,
        // Of everything that it shows.
        known: (requests * 1_000.0 + tokens) as u64,
    }
}

impl Rig {
    fn ask_for(&mut self, index: usize, kind: BaselineKind, tally: Tally) {
        let request = BaselineRequest { tally, ..request(index, kind, 5_000, 1_000) };
        self.say(Message::BaselineRequest(Box::new(request)));
    }

    fn came(&mut self, read: u64, seen: Observed, moved: &[&str]) {
        let start = self.began.iter().find(|(r, _)| *r == ReadId(read)).unwrap().1;
        let moved = moved.iter().map(|name| (*name).to_owned()).collect();
        let stamp = ReadStamp {
            start,
            end: self.now,
            seen: Some(std::sync::Arc::new(seen)),
            moved,
            pulse: None,
        };
        self.input(CollectorInput::ReadDone { read: ReadId(read), outcome: Ok(stamp) });
    }

    /// Answers the boundary with one reading after the other, as soon as it is
    /// asked for, the last of them for ever, until it is closed: the answer's number
    /// of readings, whether settled, and what was not.
    fn close(&mut self, readings: &[Observed]) -> (u32, Option<bool>, Vec<String>) {
        let mut readings = readings.iter();
        let mut seen = readings.next().unwrap();
        loop {
            let read = self.began[self.began.len() - 1].0;
            self.came(read.0, seen.clone(), &[]);
            let before = self.began.len();
            let acks = loop {
                let acks = self.acks();
                if !acks.is_empty() || self.began.len() > before {
                    break acks;
                }
                self.at(self.now.0 / 1_000_000 + 1);
            };
            if let [ack] = acks.as_slice() {
                let reading = ack.outcome.clone().unwrap();
                return (reading.readings, reading.settled, reading.unsettled);
            }
            seen = readings.next().unwrap_or(seen);
        }
    }

    /// As [`Self::close`], of a boundary whose time for settling runs out.
    fn time_out(&mut self, readings: &[Observed]) -> Vec<String> {
        let before = self.now;
        let (_, settled, lacks) = self.close(readings);
        assert_eq!(settled, Some(false));
        assert!(self.now >= before + Duration::from_secs(1), "given up too soon");
        lacks
    }

    /// The START of phase 0 is settled at these counts.
    fn based(requests: f64, tokens: f64) -> Self {
        let mut rig = Self::quiet();
        rig.ask_for(0, Start, tally(0, 0));
        let same = [shows(requests, tokens), shows(requests, tokens)];
        assert_eq!(rig.close(&same), (2, Some(true), vec![]));
        rig
    }
}

#[test]
fn the_first_boundary_is_settled_by_two_equal_readings_the_periodic_one_counts() {
    Rig::based(7.0, 70.0);
    let mut rig = Rig::started();
    rig.at(10);
    rig.came(0, shows(7.0, 70.0), &[]);
    rig.at(20);
    rig.ask_for(0, Start, tally(0, 0));
    assert_eq!(rig.close(&[shows(7.0, 70.0)]), (1, Some(true), vec![]));
}

#[test]
fn a_server_that_is_settled_at_the_first_reading_costs_one_reading() {
    let mut rig = Rig::based(7.0, 70.0);
    rig.ask_for(0, End, tally(5, 0));
    assert_eq!(rig.close(&[shows(12.0, 120.0)]), (1, Some(true), vec![]));
    rig.ask_for(1, Start, tally(5, 0));
    assert_eq!(rig.close(&[shows(12.0, 120.0)]), (1, Some(true), vec![]));
    rig.ask_for(1, End, tally(6, 0));
    assert_eq!(rig.close(&[shows(13.0, 130.0)]), (1, Some(true), vec![]));
}

#[test]
fn two_equal_readings_that_lack_a_request_are_not_settled() {
    let mut rig = Rig::based(0.0, 0.0);
    rig.ask_for(0, End, tally(5, 0));
    let late = [shows(4.0, 40.0), shows(4.0, 40.0), shows(4.0, 40.0), shows(5.0, 50.0)];
    assert_eq!(rig.close(&late), (4, Some(true), vec![]));
}

#[test]
fn a_server_that_stays_behind_is_unsettled_and_what_it_lacks_stays_expected() {
    let mut rig = Rig::based(0.0, 0.0);
    rig.ask_for(0, End, tally(5, 1));
    let lacks = vec![
        "vllm:prompt_tokens: expected at least 50, seen 40".to_owned(),
        "vllm:request_success: expected 5 to 6, seen 4".to_owned(),
    ];
    assert_eq!(rig.time_out(&[shows(4.0, 40.0)]), lacks);
    // Still not there: the next phase must not begin as if all were well.
    rig.ask_for(1, Start, tally(5, 1));
    let late = [shows(4.0, 40.0), shows(4.0, 40.0), shows(5.0, 50.0)];
    assert_eq!(rig.close(&late), (3, Some(true), vec![]));
}

#[test]
fn a_request_that_failed_may_be_counted_or_not() {
    for requests in [5.0, 6.0] {
        let mut rig = Rig::based(0.0, 0.0);
        rig.ask_for(0, End, tally(5, 1));
        assert_eq!(rig.close(&[shows(requests, 57.0)]), (1, Some(true), vec![]), "{requests}");
    }
}

#[test]
fn a_server_that_is_ahead_and_still_closes_the_boundary_at_once_and_only_that_one() {
    let mut rig = Rig::based(0.0, 0.0);
    rig.ask_for(0, End, tally(5, 0));
    let lacks = vec!["vllm:request_success: expected 5, seen 6".to_owned()];
    let foreign = shows(6.0, 50.0);
    assert_eq!(rig.close(&[foreign.clone(), foreign.clone()]), (2, Some(false), lacks));
    rig.ask_for(1, Start, tally(5, 0));
    assert_eq!(rig.close(&[foreign]), (1, Some(true), vec![]));
    rig.ask_for(1, End, tally(7, 0));
    assert_eq!(rig.close(&[shows(8.0, 70.0)]), (1, Some(true), vec![]));
}

#[test]
fn a_server_that_is_ahead_and_behind_is_waited_for() {
    let mut rig = Rig::based(0.0, 0.0);
    rig.ask_for(0, End, tally(5, 0));
    rig.time_out(&[shows(6.0, 40.0)]);
}

#[test]
fn a_counter_that_was_reset_is_given_up_when_it_is_still() {
    let mut rig = Rig::based(9.0, 90.0);
    rig.ask_for(0, End, tally(5, 0));
    let lacks = vec![
        "vllm:prompt_tokens: expected 50, seen -70".to_owned(),
        "vllm:request_success: expected 5, seen -7".to_owned(),
    ];
    let anew = shows(2.0, 20.0);
    assert_eq!(rig.close(&[anew.clone(), anew.clone()]), (2, Some(false), lacks));
    rig.ask_for(1, Start, tally(5, 0));
    assert_eq!(rig.close(&[anew]), (1, Some(true), vec![]));
}

#[test]
fn gauges_must_be_0() {
    let mut rig = Rig::based(0.0, 0.0);
    rig.ask_for(0, End, tally(5, 0));
    let mut busy = shows(5.0, 50.0);
    busy.busy = vec![("vllm:num_requests_running".to_owned(), 2.0)];
    let lacks = vec!["vllm:num_requests_running: expected 0, seen 2".to_owned()];
    assert_eq!(rig.time_out(&[busy]), lacks);
}

#[test]
fn families_that_the_table_does_not_know_must_be_still() {
    let other = |others: u64| Observed { others, ..shows(5.0, 50.0) };
    let mut rig = Rig::based(0.0, 0.0);
    rig.ask_for(0, End, tally(5, 0));
    assert_eq!(rig.close(&[other(1), other(2), other(2)]), (3, Some(true), vec![]));
    rig.ask_for(1, Start, tally(5, 0));
    assert_eq!(rig.close(&[other(2)]).0, 1, "the END's reading is the one before");
    rig.ask_for(1, End, tally(5, 0));
    rig.came(
        rig.began[rig.began.len() - 1].0.0,
        other(2),
        &["mine", "vllm:ttft", "vllm:prompt_tokens"],
    );
    rig.at(rig.now.0 / 1_000_000 + 5);
    assert_eq!(rig.acks(), [], "what was read before the load says nothing");
}

#[test]
fn a_reading_before_load_is_none_to_compare_with_also_where_the_end_was_lost() {
    let other = |requests: f64| Observed { others: 2, ..shows(requests, 10.0 * requests) };
    let mut rig = Rig::quiet();
    rig.ask_for(0, Start, tally(0, 0));
    assert_eq!(rig.close(&[other(0.0)]).0, 2);
    // Load, and an END that nobody hears of.
    rig.ask_for(1, Start, tally(5, 0));
    assert_eq!(rig.close(&[other(5.0)]), (2, Some(true), vec![]));
}

#[test]
fn a_reading_beside_a_seamless_neighbour_is_none_to_compare_with() {
    let other = |requests: f64| Observed { others: 2, ..shows(requests, 10.0 * requests) };
    let mut rig = Rig::quiet();
    rig.ask_for(0, Start, tally(0, 0));
    assert_eq!(rig.close(&[other(0.0)]).0, 2);
    rig.say(Message::BaselineRequest(Box::new(request(0, End, 5_000, 0))));
    assert!(rig.collector.boundary_open());
    assert_eq!(rig.close(&[other(5.0)]).0, 1, "settling is not asked for");
    assert!(!rig.collector.boundary_open());
    // The neighbour's load, and an END that nobody hears of.
    rig.ask_for(2, Start, tally(5, 0));
    assert_eq!(rig.close(&[other(5.0)]), (2, Some(true), vec![]));
}

#[test]
fn what_is_not_still_is_named_but_not_what_the_table_knows() {
    let mut rig = Rig::based(0.0, 0.0);
    rig.ask_for(0, End, tally(5, 0));
    let read = rig.began[rig.began.len() - 1].0.0;
    rig.came(read, Observed { others: 3, ..shows(5.0, 50.0) }, &["mine", "vllm:prompt_tokens"]);
    // The next reading never comes.
    rig.at(5_000);
    assert_eq!(rig.answer().outcome.unwrap().unsettled, ["mine: still moving"]);
}

#[test]
fn a_known_family_that_is_not_exact_needs_no_second_reading() {
    let mut rig = Rig::based(0.0, 0.0);
    rig.ask_for(0, End, tally(5, 0));
    let moved = Observed { known: 99, ..shows(5.0, 50.0) };
    assert_eq!(rig.close(&[moved]), (1, Some(true), vec![]));
}

#[test]
fn tokens_that_the_client_cannot_count_are_not_compared() {
    let mut rig = Rig::based(0.0, 0.0);
    rig.ask_for(0, End, Tally { prompt_tokens: None, ..tally(5, 0) });
    assert_eq!(rig.close(&[shows(5.0, 1.0)]), (1, Some(true), vec![]));
}

#[test]
fn a_family_that_appears_with_the_first_request_was_at_0() {
    let mut rig = Rig::quiet();
    rig.ask_for(0, Start, tally(0, 0));
    let none = Observed::default();
    assert_eq!(rig.close(&[none.clone(), none]), (2, Some(true), vec![]));
    rig.ask_for(0, End, tally(5, 0));
    let late = [shows(4.0, 40.0), shows(5.0, 50.0)];
    assert_eq!(rig.close(&late), (2, Some(true), vec![]));
}

#[test]
fn one_of_several_replicas_is_settled_when_it_is_still_and_idle() {
    let mut rig = Rig::new(CollectorPlan { interval: Duration::ZERO, sole: false, ..plan() });
    rig.input(CollectorInput::Start);
    rig.take();
    rig.ask_for(0, Start, tally(0, 0));
    let readings = [shows(0.0, 0.0), shows(0.0, 0.0)];
    assert_eq!(rig.close(&readings), (2, Some(true), vec![]));
    rig.ask_for(0, End, tally(5, 0));
    let mut busy = shows(2.0, 20.0);
    busy.busy = vec![("vllm:num_requests_running".to_owned(), 1.0)];
    let readings = [busy.clone(), busy, shows(2.0, 20.0), shows(2.0, 20.0)];
    assert_eq!(rig.close(&readings), (3, Some(true), vec![]), "a gauge is no part of stillness");
}

#[test]
fn an_end_without_a_count_from_before_is_not_called_settled() {
    // A collector that was restarted under load.
    let mut rig = Rig::quiet();
    rig.ask_for(0, End, tally(5, 0));
    let lacks = vec![
        "vllm:prompt_tokens: expected 50 more, no count from before".to_owned(),
        "vllm:request_success: expected 5 more, no count from before".to_owned(),
    ];
    assert_eq!(rig.close(&[shows(4.0, 40.0), shows(4.0, 40.0)]), (2, Some(false), lacks));
    // From here on it has one.
    rig.ask_for(1, Start, tally(5, 0));
    assert_eq!(rig.close(&[shows(4.0, 40.0)]), (1, Some(true), vec![]));
    rig.ask_for(1, End, tally(6, 0));
    assert_eq!(rig.close(&[shows(5.0, 50.0)]), (1, Some(true), vec![]));
}

#[test]
fn a_boundary_with_load_in_flight_gives_no_base_and_asks_for_nothing() {
    let mut rig = Rig::based(0.0, 0.0);
    let moving = BaselineRequest { tally: tally(3, 0), ..request(1, Start, 5_000, 0) };
    rig.say(Message::BaselineRequest(Box::new(moving)));
    assert_eq!(rig.close(&[shows(1.0, 10.0)]), (1, None, vec![]));
    rig.ask_for(1, End, tally(5, 0));
    assert_eq!(rig.close(&[shows(5.0, 50.0)]), (1, Some(true), vec![]));
}
