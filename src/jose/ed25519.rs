//! Which Ed25519 public keys are refused before a backend sees them (RFC 8725 3.4).
//!
//! A key of small order makes signatures that hold for every message: R = identity, S = 0. aws-lc-rs, ring and OpenSSL
//! accept those (RFC 8032 leaves it open), so such keys are told apart here, by their y coordinate. A y that is not below
//! the field's prime is refused as well: it would give one point two encodings, hence one key two thumbprints.

/// y of the points of order 1, 2, 4 and 8, little-endian, without the sign of x: each stands for one or two points.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    // Order 1, the identity: y = 1.
    with_ends(1, 0, 0),
    // Order 2: y = -1.
    with_ends(0xec, 0xff, 0x7f),
    // Order 4: y = 0.
    with_ends(0, 0, 0),
    // Order 8, two pairs.
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut out = [middle; 32];
    let [low, .., high] = &mut out;
    *low = first;
    *high = last;
    out
}

/// Whether this encoded point has small order, whatever the sign of its x.
pub(super) fn has_small_order(point: &[u8; 32]) -> bool {
    SMALL_ORDER_Y.contains(&without_sign(point))
}

/// Whether y is below the prime 2^255 - 19.
pub(super) fn is_canonical(point: &[u8; 32]) -> bool {
    match without_sign(point) {
        [first, middle @ .., 0x7f] => first < 0xed || middle.iter().any(|octet| *octet != 0xff),
        _ => true,
    }
}

fn without_sign(point: &[u8; 32]) -> [u8; 32] {
    let mut y = *point;
    let [.., last] = &mut y;
    *last &= 0x7f;
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_eight_points_and_their_twins_are_known() {
        for y in SMALL_ORDER_Y {
            assert!(is_canonical(&y));
            for sign in [0, 0x80] {
                let mut point = y;
                point[31] |= sign;
                assert!(has_small_order(&point), "{point:?}");
            }
        }
        assert_eq!(with_ends(0xec, 0xff, 0x7f)[..3], [0xec, 0xff, 0xff]);
    }

    #[test]
    fn the_prime_itself_and_above_are_not_canonical() {
        for (first, canonical) in [(0xec, true), (0xed, false), (0xee, false), (0xff, false)] {
            assert_eq!(is_canonical(&with_ends(first, 0xff, 0x7f)), canonical);
            assert_eq!(is_canonical(&with_ends(first, 0xff, 0xff)), canonical);
        }
        let mut below = with_ends(0xff, 0xff, 0x7f);
        below[10] = 0xfe;
        assert!(is_canonical(&below));
    }
}
