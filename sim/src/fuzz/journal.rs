//! Journals that were cut, changed or made up.

use phasegate_core::collector::CollectorInput;
use phasegate_core::conductor::ConductorInput;
use phasegate_core::controller::ControllerInput;
use phasegate_core::journal::{
    Encoder, Entry, Header, Journal, JournalError, Kind, Replay, Tail, encode_input,
};
use phasegate_core::ledger::LedgerInput;
use phasegate_core::plan::RunPlan;
use phasegate_core::setup::Settings;
use phasegate_core::time::Tick;

use super::bytes::Bytes;
use super::messages::Names;
use super::plans;

/// Entries of one input, at most.
const ENTRIES: usize = 500;

/// Reads `bytes` as a journal; or as the parts of one that are sealed with right
/// checksums, so that what lies behind them is reached too; or as a schedule of
/// entries with a cut or a changed bit. Whatever can be read is fed to fresh
/// machines.
///
/// # Panics
/// Where entries of a damaged journal are not those that were written, up to the
/// damage.
pub fn journal(bytes: &[u8]) {
    let mut choices = Bytes::new(bytes);
    match choices.below(4) {
        0 => whole(choices.rest()),
        1 => sealed(choices.rest()),
        2 => damaged(&mut choices),
        _ => made_up(&mut choices),
    }
}

/// A file, as it is.
fn whole(bytes: &[u8]) {
    match Journal::open(bytes) {
        Ok(journal) => {
            let mut entries = journal.entries();
            let readable: Vec<Entry> =
                entries.by_ref().map_while(Result::ok).take(ENTRIES).collect();
            feed(&journal.header, &readable);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A header's JSON, a zero, a block's content: sealed with their checksums.
fn sealed(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (json, block) = bytes.split_at(end);
    let version = 1_u16.to_le_bytes();
    let mut file = b"PGJ1".to_vec();
    file.extend(version);
    file.extend(length(json));
    file.extend(crc32(&[&version, &length(json), json]).to_le_bytes());
    file.extend(json);
    let block = block.get(1..).unwrap_or_default();
    if !block.is_empty() {
        file.extend(length(block));
        file.extend(crc32(&[&length(block), block]).to_le_bytes());
        file.extend(block);
    }
    // The checksums are right: what is refused now is the content.
    match Journal::open(&file) {
        Ok(journal) => comes_back(&journal.header),
        Err(JournalError::HeaderDamaged(reason)) => assert!(!reason.contains("checksum")),
        Err(error) => panic!("a sealed header: {error}"),
    }
    whole(&file);
}

/// A header that could be read is one that can be written and read again.
fn comes_back(header: &Header) {
    let mut file = Vec::new();
    Encoder::new(header, &mut file).expect("a header that was read can be written");
    let again = Journal::open(&file).expect("what was written can be read");
    assert_eq!(again.header.nodes, header.nodes);
    assert_eq!(again.header.plan.phases().len(), header.plan.phases().len());
}

/// Places of one file at which it is damaged. No coverage leads a fuzzer from
/// one place to the next.
const PLACES: usize = 16;

/// A schedule of entries whose file is cut, or has a changed bit, at one place
/// anywhere and at some behind its header.
fn damaged(choices: &mut Bytes<'_>) {
    let place = usize::from(choices.u16());
    let Some((header, _, _)) = run(choices) else { return };
    let (written, file, header_end) = write(&header, choices);
    let blocks = file.len() - header_end;
    let behind = (0..PLACES)
        .filter_map(|n| (place + n * blocks / PLACES).checked_rem(blocks))
        .map(|offset| header_end + offset);
    for at in [place % file.len()].into_iter().chain(behind) {
        damage(&written, &file, header_end, at, Damage::Cut);
        damage(&written, &file, header_end, at, Damage::Bit(1 << (place % 8)));
    }
    feed(&header, &written);
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Damage {
    Cut,
    Bit(u8),
}

fn damage(written: &[Entry], file: &[u8], header_end: usize, at: usize, damage: Damage) {
    let mut broken = file.to_vec();
    match damage {
        Damage::Cut => broken.truncate(at),
        Damage::Bit(bit) => broken.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit),
    }
    let Ok(journal) = Journal::open(&broken) else {
        assert!(at < header_end, "the header was whole: the damage is at {at}");
        return;
    };
    assert!(at >= header_end, "a damaged header was taken");
    let mut entries = journal.entries();
    let mut read = 0;
    let mut error = None;
    for entry in entries.by_ref() {
        match entry {
            Ok(entry) => {
                assert_eq!(Some(&entry), written.get(read), "entry {read} is not what was written");
                read += 1;
            }
            Err(found) => error = Some(found),
        }
    }
    if damage != Damage::Cut {
        let noticed = error.is_some() || matches!(entries.tail(), Some(Tail::Torn { .. }));
        assert!(noticed, "a changed bit at {at} of {} went unnoticed", file.len());
        assert!(read < written.len(), "the damaged block was taken");
    }
}

/// A schedule of entries, whole.
fn made_up(choices: &mut Bytes<'_>) {
    let Some((header, ..)) = run(choices) else { return };
    let (written, file, _) = write(&header, choices);
    let journal = Journal::open(&file).expect("what was written can be read");
    let mut entries = journal.entries();
    let read: Result<Vec<Entry>, _> = entries.by_ref().collect();
    assert_eq!(read.as_ref(), Ok(&written));
    assert_eq!(entries.tail(), Some(&Tail::Clean));
    feed(&journal.header, &written);
}

fn run(choices: &mut Bytes<'_>) -> Option<(Header, RunPlan, Settings)> {
    let (plan, settings) = plans::run(choices).ok()?;
    Some((settings.header(&plan), plan, settings))
}

/// Entries of whatever the choices spell, the file, and where its header ends.
fn write(header: &Header, choices: &mut Bytes<'_>) -> (Vec<Entry>, Vec<u8>, usize) {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(header, &mut file).expect("a header");
    let header_end = file.len();
    let mut written = Vec::new();
    let mut now = Tick::ZERO;
    while !choices.is_empty() && written.len() < ENTRIES {
        let entry = entry(header, &mut now, choices);
        encoder.push(&entry, &mut file).expect("an entry");
        if choices.below(8) == 7 {
            encoder.flush(&mut file).expect("a block");
        }
        written.push(entry);
    }
    encoder.flush(&mut file).expect("a block");
    (written, file, header_end)
}

fn entry(header: &Header, now: &mut Tick, choices: &mut Bytes<'_>) -> Entry {
    let node = choices.byte() % 8;
    // Mostly forward, sometimes anywhere: a journal may say what it likes.
    *now = match choices.below(8) {
        0 => Tick(choices.number()),
        _ => Tick(now.0.saturating_add(choices.number().saturating_mul(1_000_000))),
    };
    let kind = match choices.below(4) {
        0 => Kind::Timeout,
        1 => {
            let length = choices.below(64);
            Kind::Input(choices.take(length).to_vec())
        }
        _ => Kind::Input(input(header, node, choices)),
    };
    let effects = if choices.flag() { choices.number() as u32 } else { 0 };
    Entry { node, at: *now, kind, effects }
}

/// An input that the node can read.
fn input(header: &Header, node: u8, choices: &mut Bytes<'_>) -> Vec<u8> {
    let phases: Vec<_> = header.plan.phases().iter().map(|phase| phase.id).collect();
    let services: Vec<_> = header.nodes.iter().map(phasegate_core::id::ServiceId::new).collect();
    let names = Names { phases: &phases, services: &services };
    let start = choices.below(4) == 0;
    let written = match (node, start) {
        (0, true) => encode_input(&ControllerInput::Start),
        (0, false) => encode_input(&ControllerInput::Message(names.envelope(choices))),
        (1, true) => encode_input(&ConductorInput::Start),
        (1, false) => encode_input(&ConductorInput::Message(names.envelope(choices))),
        (2, true) => encode_input(&LedgerInput::Start),
        (2, false) => encode_input(&LedgerInput::Message(names.envelope(choices))),
        (_, true) => encode_input(&CollectorInput::Start),
        (_, false) => encode_input(&CollectorInput::Message(names.envelope(choices))),
    };
    written.expect("every input can be written")
}

/// Feeds entries to fresh machines. What they do differs from what was recorded,
/// and is no matter here: they must stand it.
fn feed(header: &Header, entries: &[Entry]) {
    let Ok(settings) = Settings::from_header(header) else { return };
    let mut nodes: Vec<Box<dyn Replay>> = settings.replayers(&header.plan);
    for entry in entries {
        if let Some(node) = nodes.get_mut(usize::from(entry.node))
            && let Err(difference) = node.step(entry)
        {
            assert_eq!(difference.node, entry.node);
        }
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// CRC-32 (IEEE 802.3), a bit at a time: a second opinion on core's.
fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = 0_u32.wrapping_sub(crc & 1);
            crc = crc >> 1 ^ 0xedb8_8320 & carry;
        }
    }
    !crc
}
