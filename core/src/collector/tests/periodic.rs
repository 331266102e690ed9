use super::*;

#[test]
fn periodic_readings_keep_to_their_schedule() {
    let mut rig = Rig::started();
    for (read, at) in [(0, 10), (1, 350), (2, 610), (3, 950)] {
        rig.at(at);
        rig.done(read, None);
    }
    rig.at(1_250);
    assert_eq!(rig.reads(), [(0, 0), (1, 300), (2, 600), (3, 900), (4, 1_200)]);
}

#[test]
fn a_slow_source_is_not_read_faster_than_it_answers() {
    let mut rig = Rig::started();
    rig.at(650);
    assert_eq!(rig.reads(), [(0, 0)], "never two at the same time");
    rig.done(0, None);
    rig.at(899);
    assert_eq!(rig.reads(), []);
    rig.at(900);
    assert_eq!(rig.reads(), [(1, 900)]);
}

#[test]
fn a_failed_periodic_reading_is_counted_and_the_next_one_comes() {
    let mut rig = Rig::started();
    rig.fail(0);
    rig.at(300);
    rig.done(1, None);
    assert_eq!(rig.reads(), [(0, 0), (1, 300)]);
    rig.say(Message::CreditsComplete(CreditsComplete::default()));
    let summary = DomainSummary::Readings { readings: 1, failed: 1 };
    let domain = Domain::server_metrics();
    assert_eq!(rig.messages(), [Message::DomainResult(DomainResult { domain, summary })]);
}

#[test]
fn a_periodic_reading_that_takes_too_long_is_given_up() {
    let mut rig = Rig::started();
    rig.at(899);
    assert!(!rig.out.contains(&CollectorEffect::Abort(ReadId(0))));
    rig.at(900);
    assert!(rig.out.contains(&CollectorEffect::Abort(ReadId(0))));
    rig.done(0, None);
    rig.at(1_200);
    assert_eq!(rig.reads(), [(0, 0), (1, 1_200)], "the late answer starts nothing");
}

#[test]
fn an_interval_of_zero_takes_no_periodic_readings() {
    let mut rig = Rig::quiet();
    rig.at(5_000);
    assert_eq!(rig.reads(), []);
}
