//! Whole numbers of variable length: seven bits a byte, lowest first (LEB128).

/// Appends `number`.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the front of `bytes`; `None` if there is none, or one
/// beyond 64 bits.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The difference `to − from` with its sign in the lowest bit, so that small
/// differences of either sign are small. Lossless for any two numbers.
pub(super) fn zigzag(to: u64, from: u64) -> u64 {
    let difference = to.wrapping_sub(from) as i64;
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// What [`zigzag`] of `from` made `number`.
pub(super) fn unzigzag(number: u64, from: u64) -> u64 {
    let difference = (number >> 1) as i64 ^ -((number & 1) as i64);
    from.wrapping_add(difference as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_differences_come_back(a: u64, b: u64) {
            let mut bytes = Vec::new();
            put(&mut bytes, a);
            put(&mut bytes, b);
            let mut rest = bytes.as_slice();
            prop_assert_eq!((take(&mut rest), take(&mut rest)), (Some(a), Some(b)));
            prop_assert_eq!(take(&mut rest), None);
            prop_assert_eq!(unzigzag(zigzag(a, b), b), a);
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused() {
        assert_eq!(take(&mut [0xff; 11].as_slice()), None);
        assert_eq!(take(&mut [&[0xff; 9][..], &[0x02]].concat().as_slice()), None);
        assert_eq!(take(&mut [&[0xff; 9][..], &[0x01]].concat().as_slice()), Some(u64::MAX));
    }
}
