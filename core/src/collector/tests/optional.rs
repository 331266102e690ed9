use super::*;

/// A collector of a source that nobody asked for, started.
fn optional() -> Rig {
    let mut rig = Rig::new(CollectorPlan { optional: true, ..plan() });
    rig.input(CollectorInput::Start);
    rig
}

fn failed(rig: &mut Rig, read: u64, kind: CollectErrorKind) {
    let outcome = Err(CollectError::new(kind, "no such page"));
    rig.input(CollectorInput::ReadDone { read: ReadId(read), outcome });
}

fn statuses(rig: &mut Rig) -> Vec<ServiceStatus> {
    let mut statuses = Vec::new();
    for message in rig.messages() {
        if let Message::Status(status) = message {
            statuses.push(status);
        }
    }
    statuses
}

#[test]
fn it_is_ready_once_its_source_has_been_read() {
    let mut rig = optional();
    assert_eq!(statuses(&mut rig), []);
    rig.done(0, None);
    assert_eq!(statuses(&mut rig), [ServiceStatus::Ready]);
    rig.at(300);
    failed(&mut rig, 1, CollectErrorKind::Absent);
    assert_eq!(statuses(&mut rig), [], "what was there once is missed when it is gone");
}

#[test]
fn it_takes_no_part_where_there_is_nothing_of_the_kind() {
    let mut rig = optional();
    failed(&mut rig, 0, CollectErrorKind::Absent);
    let disabled = ServiceStatus::Disabled { reason: "no such page".to_owned() };
    assert_eq!(statuses(&mut rig), [disabled]);
}

#[test]
fn any_other_failure_makes_it_ready_to_be_asked_and_to_fail() {
    let mut rig = optional();
    failed(&mut rig, 0, CollectErrorKind::Status);
    assert_eq!(statuses(&mut rig), [ServiceStatus::Ready]);
}

#[test]
fn a_source_that_does_not_answer_holds_the_start_for_a_moment_only() {
    let mut rig = optional();
    rig.at(899);
    assert_eq!(statuses(&mut rig), []);
    rig.at(900);
    assert_eq!(statuses(&mut rig), [ServiceStatus::Ready]);
}

#[test]
fn a_source_that_was_asked_for_is_ready_at_once_whatever_it_answers() {
    let mut rig = Rig::started();
    assert_eq!(statuses(&mut rig), [ServiceStatus::Ready]);
    failed(&mut rig, 0, CollectErrorKind::Absent);
    assert_eq!(statuses(&mut rig), []);
}
