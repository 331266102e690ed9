//! Buffers to read into, lent for as long as something lies in them.
//!
//! A connection that waits has nothing to keep. One buffer of its own for each
//! would be memory that no cache holds by the time its answer comes; what a
//! thread reads into again and again stays there.

use std::cell::RefCell;

/// What a read has room for at first.
const SIZE: usize = 16 << 10;

/// So many are kept a thread: one is in use at a time, and one may have grown.
const SPARE: usize = 4;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer with something in it, no matter what: it is there to be overwritten.
pub(crate) fn borrow() -> Vec<u8> {
    let spare = SPARES.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| vec![0; SIZE])
}

/// Takes one back, also one that was another thread's.
pub(crate) fn give_back(buffer: Vec<u8>) {
    SPARES.with_borrow_mut(|spares| {
        if spares.len() < SPARE && buffer.len() >= SIZE {
            spares.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_lent_again_and_no_more_than_some_are_kept() {
        let mut first = borrow();
        first[0] = 7;
        let place = first.as_ptr();
        give_back(first);
        let again = borrow();
        assert_eq!((again.as_ptr(), again.len()), (place, SIZE));
        give_back(Vec::new());
        let empty = borrow();
        assert_eq!(empty.len(), SIZE, "one without room is of no use");
        for _ in 0..10 {
            give_back(vec![0; SIZE]);
        }
        assert_eq!(SPARES.with_borrow(Vec::len), SPARE);
    }
}
