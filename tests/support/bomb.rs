//! An answer that inflates.
#![allow(dead_code, clippy::unwrap_used, reason = "test support")]

const MATCHES: usize = 4_000;

/// What it inflates to.
pub(crate) const LENGTH: usize = 1 + 258 * MATCHES;

/// A million zeros and one, in a few thousand octets (RFC 1951 3.2.6, RFC 1952).
pub(crate) fn gzip() -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    let mut put = |code: u32, length: u32| bits.extend((0..length).rev().map(|place| code >> place & 1 == 1));
    // The last block, with fixed codes; a zero, then 258 times what was before, again and again; the end.
    put(0b1_10, 3);
    put(0b0011_0000, 8);
    for _ in 0..MATCHES {
        put(0b1100_0101, 8);
        put(0, 5);
    }
    put(0, 7);
    let mut crc = u32::MAX;
    for _ in 0..LENGTH * 8 {
        crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    }
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for octet in bits.chunks(8) {
        gzip.push(octet.iter().rev().fold(0, |all, bit| all << 1 | u8::from(*bit)));
    }
    gzip.extend((!crc).to_le_bytes());
    gzip.extend(u32::try_from(LENGTH).unwrap().to_le_bytes());
    gzip
}
