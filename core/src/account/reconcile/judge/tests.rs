use super::*;

/// A phase of 5 requests after a warm-up of 1, in perfect order.
fn case() -> Case {
    Case {
        unit: Unit::Requests,
        client: Some((5, Some(5))),
        server: Ok(5.0),
        unsettled: [None, None],
        unread: Vec::new(),
        in_flight: [0, 0],
        before: Before::Seen { seen: 1.0, least: 1, most: Some(1) },
        after: None,
        endpoints: 1,
        foreign: None,
    }
}

fn judged(change: impl FnOnce(&mut Case)) -> (ReconciliationStatus, String) {
    let mut case = case();
    change(&mut case);
    let Judgement { status, reason, .. } = case.judge();
    (status, reason.unwrap_or_default())
}

use ReconciliationStatus::{Match, Mismatch, Unknown};

#[test]
fn equal_numbers_match_where_the_boundaries_were_read_and_settled() {
    assert_eq!(judged(|_| {}), (Match, String::new()));
    let unsettled = |at: usize| judged(move |c| c.unsettled[at] = Some("http://a".to_owned())).0;
    assert_eq!([unsettled(0), unsettled(1)], [Unknown, Unknown]);
    assert_eq!(judged(|c| c.in_flight = [0, 2]).0, Unknown);
    assert_eq!(judged(|c| c.server = Err("no reading".to_owned())), (Unknown, "no reading".into()));
    assert_eq!(judged(|c| c.before = Before::Unknown).0, Unknown);
    assert_eq!(judged(|c| c.before = Before::Nothing).0, Match, "the first phase");
}

#[test]
fn equal_numbers_are_no_match_where_the_server_had_not_counted_what_came_before() {
    // The warm-up's request is counted in the phase, and one of the phase's is
    // missing: five are five.
    let mut late = case();
    late.before = Before::Seen { seen: 0.0, least: 1, most: Some(1) };
    let judgement = late.judge();
    assert_eq!((judgement.status, judgement.doubtful), (Unknown, true));
    assert!(judgement.reason.unwrap().contains("had counted 0 of the 1 requests"));
}

#[test]
fn what_did_not_complete_may_be_counted_or_not() {
    let within =
        |server: f64| judged(move |c| (c.client, c.server) = (Some((5, Some(8))), Ok(server)));
    assert_eq!([5.0, 7.0, 8.0].map(|n| within(n).0), [Match; 3]);
    assert_eq!([4.0, 9.0].map(|n| within(n).0), [Mismatch; 2]);
    let open =
        |server: f64| judged(move |c| (c.client, c.server) = (Some((640, None)), Ok(server)));
    assert_eq!([639.0, 640.0, 700.0].map(|n| open(n).0), [Mismatch, Match, Unknown]);
    assert!(open(700.0).1.contains("did not complete"));
}

#[test]
fn a_client_without_a_count_says_so() {
    let (status, why) = judged(|c| (c.client, c.unit) = (None, Unit::OutputTokens));
    assert_eq!(status, Unknown);
    assert!(why.starts_with("the client has no count of output tokens"), "{why}");
}

#[test]
fn too_few_are_late_or_on_another_replica_or_not_known_while_publishing() {
    let few = |change: fn(&mut Case)| {
        judged(|c| {
            (c.client, c.server) = (Some((40, Some(40))), Ok(20.0));
            change(c);
        })
    };
    let late = few(|c| c.after = Some(20.0));
    assert_eq!(late.0, Mismatch);
    assert!(late.1.starts_with("late publication: the server counted 20 more"), "{}", late.1);
    assert!(few(|_| {}).1.starts_with("the server counted one in 2"), "{}", few(|_| {}).1);
    // What came later is less than what is missing.
    assert!(few(|c| c.after = Some(19.0)).1.starts_with("the server counted one in 2"));
    assert!(few(|c| c.after = Some(21.0)).1.starts_with("late publication: the server"));
    assert!(few(|c| c.server = Ok(27.0)).1.contains("late publication"));
    assert!(few(|c| c.server = Ok(0.0)).1.contains("counted nothing"));
    assert_eq!(few(|c| c.unsettled[1] = Some("http://a".to_owned())).0, Unknown);
    assert_eq!(few(|c| c.unread = vec!["http://b".to_owned()]).0, Unknown);
}

#[test]
fn too_many_are_late_foreign_or_counted_twice() {
    let many = |change: fn(&mut Case)| {
        judged(|c| {
            c.server = Ok(6.0);
            change(c);
        })
    };
    let late = many(|c| c.before = Before::Seen { seen: 0.0, least: 1, most: Some(1) });
    assert_eq!(late.0, Mismatch);
    assert!(late.1.starts_with("late publication: at START"), "{}", late.1);
    assert!(many(|_| {}).1.starts_with("foreign traffic (another client"), "{}", many(|_| {}).1);
    assert!(many(|c| c.foreign = Some("running was 9.".into())).1.ends_with("running was 9"));
    let twice = many(|c| (c.server, c.endpoints) = (Ok(10.0), 2));
    assert!(twice.1.starts_with("the server counted each 2 times"), "{}", twice.1);
    // Requests given up before this phase may have been finished in it.
    let given_up = many(|c| c.before = Before::Seen { seen: 1.0, least: 1, most: Some(3) });
    assert_eq!(given_up.0, Unknown);
    let all_of_them = many(|c| {
        (c.server, c.before) = (Ok(7.0), Before::Seen { seen: 1.0, least: 1, most: Some(3) });
    });
    assert_eq!(all_of_them.0, Unknown);
    let foreign = many(|c| {
        (c.server, c.before) = (Ok(9.0), Before::Seen { seen: 1.0, least: 1, most: Some(3) });
    });
    assert_eq!(foreign.0, Mismatch);
    assert_eq!(many(|c| c.unsettled[0] = Some("http://a".to_owned())).0, Unknown);
}

#[test]
fn tokens_added_up_in_floating_point_are_whole() {
    assert_eq!(judged(|c| c.server = Ok(5.000_000_1)).0, Match);
    assert_eq!(judged(|c| c.server = Ok(4.999_999_9)).0, Match);
}

#[test]
fn several_endpoints_that_count_a_whole_multiple_are_one_that_is_named_so_often() {
    let found = |client: u64, server: f64, endpoints: usize| {
        let (status, why) = judged(|c| {
            (c.client, c.server, c.endpoints) =
                (Some((client, Some(client))), Ok(server), endpoints);
        });
        assert_eq!(status, Mismatch);
        why.strip_prefix("the server counted each ").map(|rest| rest[..1].to_owned())
    };
    let times = |n: &str| Some(n.to_owned());
    assert_eq!([found(5, 10.0, 2), found(5, 15.0, 2)], [times("2"), times("3")]);
    // Within 2 %, and no further; and never of one endpoint.
    assert_eq!([found(100, 203.0, 2), found(100, 205.0, 2)], [times("2"), None]);
    assert_eq!([found(5, 12.0, 2), found(5, 5.05, 2), found(5, 10.0, 1)], [None, None, None]);
}
