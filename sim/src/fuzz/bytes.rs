//! Choices, taken from bytes one after the other. When there are none left every
//! choice is the first one, so that every input is a whole schedule.

use core::time::Duration;

/// The longest duration that JSON holds exactly, in nanoseconds: ten days.
pub(super) const EXACT_NS: u64 = 864_000_000_000_000;

/// What is left to choose from.
#[derive(Debug, Clone)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// One of `0..n`, of at most 256; 0 where there is none.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()).checked_rem(n).unwrap_or_default()
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T], otherwise: T) -> T {
        let at = self.below(from.len());
        from.get(at).copied().unwrap_or(otherwise)
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(super) fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(n).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(super) fn u64(&mut self) -> u64 {
        let mut all = [0; 8];
        all.fill_with(|| self.byte());
        u64::from_le_bytes(all)
    }

    /// A number, mostly small, sometimes at an edge.
    pub(super) fn number(&mut self) -> u64 {
        match self.below(8) {
            0..=3 => u64::from(self.byte()),
            4 => u64::from(self.u16()),
            5 => self.u64(),
            6 => u64::MAX,
            _ => 0,
        }
    }

    pub(super) fn maybe_number(&mut self) -> Option<u64> {
        self.flag().then(|| self.number())
    }

    /// A duration of up to a minute, in milliseconds.
    pub(super) fn millis(&mut self) -> Duration {
        Duration::from_millis(u64::from(self.u16()) % 60_000)
    }

    /// A duration that JSON holds exactly.
    pub(super) fn duration(&mut self) -> Duration {
        Duration::from_nanos(self.number().min(EXACT_NS))
    }

    /// A short text of whatever bytes come.
    pub(super) fn text(&mut self) -> String {
        let length = self.below(16);
        String::from_utf8_lossy(self.take(length)).into_owned()
    }
}
