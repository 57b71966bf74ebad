//! `application/x-www-form-urlencoded`, as a server reads it.

/// The fields in the order in which they came. What is not UTF-8 after decoding is replaced.
pub(super) fn parse(body: &[u8]) -> Vec<(String, String)> {
    body.split(|byte| *byte == b'&')
        .filter(|field| !field.is_empty())
        .map(|field| {
            let mut halves = field.splitn(2, |byte| *byte == b'=');
            let mut half = || decode(halves.next().unwrap_or_default());
            (half(), half())
        })
        .collect()
}

/// Undoes percent-encoding and `+`. A `%` without two hexadecimal digits stays as it is.
pub(super) fn decode(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (byte, _) => *byte,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded() {
        let fields = parse(b"a=1+2&b=%C3%A9%2b&c&d=%zz%4");
        let wanted = [("a", "1 2"), ("b", "\u{e9}+"), ("c", ""), ("d", "%zz%4")];
        assert_eq!(fields, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
