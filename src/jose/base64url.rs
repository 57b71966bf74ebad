//! base64url without padding, in its one canonical form (RFC 7515 2, RFC 4648 3.5).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text of `data`.
pub(crate) fn encode(data: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(data)
}

/// The length of the text of `octets` octets.
pub(crate) const fn encoded_len(octets: usize) -> usize {
    (octets * 4).div_ceil(3)
}

/// Writes the text of `data` into `out`, which has its length.
pub(crate) fn encode_to(data: &[u8], out: &mut [u8]) {
    let written = URL_SAFE_NO_PAD.encode_slice(data, out);
    debug_assert!(written.is_ok(), "the buffer has the text's length");
}

/// Appends the text of `data` to `out`, which grows by no more than it needs.
pub(crate) fn encode_into(data: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + encoded_len(data.len()), 0);
    if let Some(room) = out.get_mut(start..) {
        encode_to(data, room);
    }
}

/// The octets that `text` stands for; `None` for padding, another alphabet, white space, or unused bits that are set.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// As [`decode`], for a text that must stand for exactly `N` octets.
pub(crate) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encoders_agree() {
        let data: Vec<u8> = (0..=255).collect();
        for length in 0..data.len() {
            let mut out = b"x.".to_vec();
            encode_into(&data[..length], &mut out);
            let text = encode(&data[..length]);
            assert_eq!(out, format!("x.{text}").into_bytes());
            assert_eq!(decode(&text).as_deref(), Some(&data[..length]));
        }
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        for text in ["AA==", "A", "AB", "+A", "/A", "AAA\n", " AA", "AA=", "\u{e4}A"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        assert_eq!(decode("AA"), Some(vec![0]));
        assert_eq!(decode_array::<2>("AA"), None);
    }
}
