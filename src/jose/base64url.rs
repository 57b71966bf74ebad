//! base64url without padding, in its one canonical form (RFC 7515 2, RFC 4648 3.5).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text of `data`.
pub(crate) fn encode(data: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(data)
}

/// Appends the text of `data` to `out`.
pub(crate) fn encode_into(data: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    let written = out
        .get_mut(start..)
        .and_then(|room| URL_SAFE_NO_PAD.encode_slice(data, room).ok());
    out.truncate(start + written.unwrap_or(0));
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
