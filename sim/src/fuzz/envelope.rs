//! What travels on the bus, as bytes and as types.

use phasegate_core::collector::CollectorInput;
use phasegate_core::conductor::ConductorInput;
use phasegate_core::controller::ControllerInput;
use phasegate_core::id::{PhaseId, ServiceId};
use phasegate_core::journal::{decode_input, encode_input};
use phasegate_core::ledger::LedgerInput;
use phasegate_core::message::{Envelope, Message};
use phasegate_core::time::{Tick, nanos};
use uuid::Uuid;

use super::bytes::{Bytes, EXACT_NS};
use super::messages::Names;
use super::plans;
use super::world::World;

/// Reads `bytes` as the wire form of an envelope, or makes one of the choices
/// that they spell; writes it and reads it again; puts it into the journal and
/// takes it out; and lets every machine of a small run hear it.
///
/// # Panics
/// Where it does not come back as it was, or a machine does not stand it.
pub fn envelope(bytes: &[u8]) {
    let envelope = if bytes.first() == Some(&b'{') {
        // Not an envelope: an error that says where, and that is all.
        match Envelope::decode(bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                assert!(error.line() > 0 || error.is_eof(), "no place: {error}");
                return;
            }
        }
    } else {
        made_up(&mut Bytes::new(bytes))
    };
    if exact(&envelope) {
        comes_back(&envelope);
    }
    everybody_hears(&envelope);
}

fn made_up(bytes: &mut Bytes<'_>) -> Envelope {
    let phases = [PhaseId(Uuid::from_u64_pair(1, 2)), PhaseId(Uuid::from_u64_pair(3, 4))];
    let services =
        [ServiceId::controller(), ServiceId::conductor(), ServiceId::ledger(), ServiceId::new("")];
    Names { phases: &phases, services: &services }.envelope(bytes)
}

/// JSON holds durations exactly up to ten days only.
fn exact(envelope: &Envelope) -> bool {
    match &envelope.body {
        Message::BaselineRequest(request) => {
            nanos(request.budget) <= EXACT_NS && nanos(request.settle) <= EXACT_NS
        }
        Message::Register(_)
        | Message::Status(_)
        | Message::Heartbeat(_)
        | Message::Begin
        | Message::GateCommand(_)
        | Message::BaselineAck(_)
        | Message::GateGranted(_)
        | Message::PhaseStarted(_)
        | Message::SendingComplete(_)
        | Message::PhaseComplete(_)
        | Message::CreditsComplete(_)
        | Message::DomainResult(_)
        | Message::Shutdown { .. }
        | Message::MeasureProbe(_)
        | Message::ProbeMeasured(_)
        | Message::Unknown => true,
    }
}

fn comes_back(envelope: &Envelope) {
    let wire = envelope.encode();
    let back = Envelope::decode(&wire).unwrap_or_else(|error| {
        panic!("{error}: {envelope:?} as {}", String::from_utf8_lossy(&wire))
    });
    assert_eq!(back, *envelope, "as {}", String::from_utf8_lossy(&wire));
    let input = ControllerInput::Message(envelope.clone());
    let written = encode_input(&input).expect("every input can be written");
    let back: ControllerInput = decode_input(&written).expect("what was written can be read");
    assert_eq!(back, input);
    // The four kinds of node write what they hear in the same way.
    let conductor = encode_input(&ConductorInput::Message(envelope.clone()));
    let ledger = encode_input(&LedgerInput::Message(envelope.clone()));
    let collector = encode_input(&CollectorInput::Message(envelope.clone()));
    assert!([conductor, ledger, collector].iter().all(|other| other.as_ref() == Ok(&written)));
}

/// A run of one phase and two collectors, begun, into which the message falls
/// twice.
fn everybody_hears(envelope: &Envelope) {
    let shape = [7, 0b1000, 0, 0, 0, 0, 0, 200, 7, 0, 0, 0, 0];
    let Ok((plan, settings)) = plans::run(&mut Bytes::new(&shape)) else { return };
    let phase = plan.phases().first().map(|phase| phase.id);
    let mut world = World::new(plan, settings, false);
    world.start();
    world.settle();
    world.settle();
    let mut envelope = envelope.clone();
    // About something that exists.
    if let Some(phase) = phase {
        about(&mut envelope.body, phase);
    }
    for _ in 0..2 {
        for place in 0..world.nodes() {
            world.hear(place, envelope.clone());
        }
        world.now = world.now.max(Tick::from_millis(40));
        world.wake_due();
    }
}

fn about(message: &mut Message, id: PhaseId) {
    match message {
        Message::GateCommand(command) => command.phase = id,
        Message::BaselineRequest(request) => request.phase = id,
        Message::BaselineAck(ack) => ack.phase = id,
        Message::GateGranted(granted) => granted.phase = id,
        Message::PhaseStarted(progress)
        | Message::SendingComplete(progress)
        | Message::PhaseComplete(progress) => progress.phase = id,
        Message::CreditsComplete(complete) => {
            if let Some((phase, _)) = complete.phases.first_mut() {
                *phase = id;
            }
        }
        Message::Register(_)
        | Message::Status(_)
        | Message::Heartbeat(_)
        | Message::Begin
        | Message::DomainResult(_)
        | Message::Shutdown { .. }
        | Message::MeasureProbe(_)
        | Message::ProbeMeasured(_)
        | Message::Unknown => {}
    }
}
