//! A carrier's words, without what they may give away.

/// The longest text that is kept, in characters.
const MAX_TEXT: usize = 300;

/// What is put in the place of what was taken out.
const CUT: &str = "[..]";

/// A word with a digit in it is kept up to this length: `401`, `v2`, `30`.
const SHORT: usize = 4;

/// A word of letters alone is kept up to this length.
const LONG: usize = 24;

/// A word with capitals inside is kept up to this length: `userId`, `FedEx`, `ClientId`.
const MIXED: usize = 8;

/// What stands in parentheses is kept up to this length, if it is of letters: `(optional)`.
const ASIDE: usize = 10;

/// Neighbouring words that have digits go when they have this many of them together.
const DIGITS: usize = 5;

/// `text` without what is quoted or in brackets, numbers of five digits and more, also in groups, long words, words that may
/// be keys, addresses of mail and the web.
pub(super) fn scrub(text: &str) -> Box<str> {
    let unquoted = without_quotes(text);
    let split = |c: char| c.is_whitespace() || c.is_control();
    let words: Vec<&str> = unquoted.split(split).filter(|word| !word.is_empty()).collect();
    let mut kept = String::new();
    let numbered = |word: &&str| digits(word) > 0 || !word.contains(char::is_alphanumeric);
    for run in words.chunk_by(|one, other| numbered(one) && numbered(other)) {
        let number = run.iter().map(|word| digits(word)).sum::<usize>() >= DIGITS;
        for word in run {
            let shown = if number || tells(word) { CUT } else { word };
            // Of several in a row one is enough.
            if shown == CUT && kept.ends_with(CUT) {
                continue;
            }
            if kept.chars().count() + shown.chars().count() + 1 > MAX_TEXT {
                return kept.into();
            }
            if !kept.is_empty() {
                kept.push(' ');
            }
            kept.push_str(shown);
        }
    }
    kept.into()
}

/// Carriers quote what they were sent. An apostrophe inside a word is none; a quote that does not end goes on to the end of the
/// text.
fn without_quotes(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let before = at.checked_sub(1).and_then(|at| chars.get(at)).copied().unwrap_or(' ');
        let Some(closes) = closing(c, before) else {
            kept.push(c);
            at += 1;
            continue;
        };
        let inside = chars.get(at + 1..).unwrap_or_default();
        let length = end_of(inside, c, closes);
        let quoted = inside.get(..length).unwrap_or_default();
        let aside = c == '(' && length <= ASIDE && quoted.iter().all(|c| c.is_ascii_alphabetic());
        if aside {
            kept.push('(');
            kept.extend(quoted);
            kept.push(')');
        } else {
            kept.push(' ');
            kept.push_str(CUT);
            kept.push(' ');
        }
        at += length + 2;
    }
    kept
}

/// By which characters a quote ends that begins with this one.
fn closing(c: char, before: char) -> Option<&'static [char]> {
    Some(match c {
        '"' => &['"'],
        '\u{ff02}' => &['\u{ff02}'],
        '`' | '\u{b4}' => &['`', '\u{b4}', '\''],
        '\'' | '\u{2018}' | '\u{201b}' | '\u{2019}' if !before.is_alphanumeric() => &['\'', '\u{2018}', '\u{2019}'],
        '\u{201a}' => &['\u{2018}', '\u{2019}', '\''],
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' => &['\u{201c}', '\u{201d}', '"'],
        '\u{ab}' | '\u{bb}' => &['\u{ab}', '\u{bb}'],
        '\u{2039}' | '\u{203a}' => &['\u{2039}', '\u{203a}'],
        '\u{300c}' | '\u{300e}' => &['\u{300d}', '\u{300f}'],
        '<' => &['>'],
        '(' => &[')'],
        _ => return None,
    })
}

/// How far a quote goes: to its end, or to the end of the text.
///
/// An end inside a word (`O'Brien`) or after a backslash is none, and a quote inside needs its own.
fn end_of(inside: &[char], opens: char, closes: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut before = opens;
    for (at, &c) in inside.iter().enumerate() {
        let after = inside.get(at + 1).copied().unwrap_or(' ');
        let in_word = is_apostrophe(c) && before.is_alphanumeric() && after.is_alphanumeric();
        let begins = !closes.contains(&c) || (before.is_whitespace() && after.is_alphanumeric());
        let counts = before != '\\' && !in_word;
        if counts && c == opens && begins {
            depth += 1;
        } else if counts && closes.contains(&c) {
            if depth == 0 {
                return at;
            }
            depth -= 1;
        }
        before = c;
    }
    inside.len()
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2018}' | '\u{2019}')
}

/// How many numerals a word has, of any script.
fn digits(word: &str) -> usize {
    word.chars().filter(|c| c.is_numeric()).count()
}

fn tells(word: &str) -> bool {
    if word == CUT {
        return false;
    }
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    let length = bare.chars().count();
    let marks = ['@', '=', '&', '%', '.', '[', ']', '{', '}', '\\', '(', ')'];
    bare.contains(marks)
        || word.contains(['@', '=', '&', '%', '\\'])
        || word.contains("://")
        || word.chars().any(is_wide)
        || length > LONG
        || (digits(bare) > 0 && length > SHORT)
        || bare.split(|c: char| !c.is_alphanumeric()).any(is_key)
}

/// Whether a word without marks has capitals among its small letters and is longer than names of fields are.
fn is_key(part: &str) -> bool {
    let capital = part.chars().skip(1).any(char::is_uppercase);
    capital && part.chars().any(char::is_lowercase) && part.chars().count() > MIXED
}

/// Forms of characters that stand for others: of full and half width, small, mathematical, in circles, and what is not seen.
fn is_wide(c: char) -> bool {
    matches!(c,
        '\u{ff00}'..='\u{ffef}'
        | '\u{fe50}'..='\u{fe6f}'
        | '\u{1d400}'..='\u{1d7ff}'
        | '\u{2460}'..='\u{24ff}'
        | '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_or_a_person_goes_and_the_rest_stays() {
        for (text, kept) in [
            (
                "Access token expired. Please modify your request and try again.",
                "Access token expired. Please modify your request and try again.",
            ),
            (
                "The tracking number 794600000001 is unknown.",
                "The tracking number [..] is unknown.",
            ),
            (
                "Invalid name 'Jane Q. Roe' in field shipTo",
                "Invalid name [..] in field shipTo",
            ),
            ("mail jane@example.org", "mail [..]"),
            ("token eyJhbGciOiJub25lIn0.e30. refused", "token [..] refused"),
            ("see https://a.example/x?y=1", "see [..]"),
            ("secret=hunter2", "[..]"),
            ("it's 401 at v2\r\nnow", "it's 401 at v2 now"),
            ("SW1A 2AA 10115 Berlin", "[..] Berlin"),
            ("\"unclosed secret", "[..]"),
            ("number 7946 0000 0001 is unknown", "number [..] is unknown"),
            ("card 4111 1111 1111 1111.", "card [..]"),
            ("account DE89 3704 0044", "account [..]"),
            ("serial A1B2 C3D4 E5F6 used", "serial [..] used"),
            ("call +1 555 010 2030 now", "call [..] now"),
            ("call 555 - 0102 now", "call [..] now"),
            ("line 12 of 401", "line 12 of 401"),
            ("Name „Jane Roe“ fehlt", "Name [..] fehlt"),
            ("Name »Jane Roe« fehlt", "Name [..] fehlt"),
            ("nom «Jane Roe» ou ‹Jane Roe›", "nom [..] ou [..]"),
            ("name \"Jane \\\"Q\\\" Roe\" bad", "name [..] bad"),
            ("no 'O'Brien Street' here", "no [..] here"),
            ("the \"name \"Jane\" Roe\" is bad", "the [..] is bad"),
            ("to <Jane Roe> failed", "to [..] failed"),
            ("user (Jane Roe) unknown", "user [..] unknown"),
            ("field (optional) missing", "field (optional) missing"),
            ("mail jane(at)example.org", "mail [..]"),
            ("mail jane(at)example", "mail [..]"),
            ("mail jane＠example", "mail [..]"),
            ("mail jane.roe.example.org.", "mail [..]"),
            ("key EZTKabcdefghijklmnopqrst", "key [..]"),
            ("userId and FedEx are required", "userId and FedEx are required"),
            (
                "The external_shipment_id is in use.",
                "The external_shipment_id is in use.",
            ),
            (
                "Invalid/Missing Authorization Header",
                "Invalid/Missing Authorization Header",
            ),
            ("required key [countryCode] not found", "required key [..] not found"),
            (
                "Please enter a valid 9-digit FedEx account number",
                "Please enter a valid [..] FedEx account number",
            ),
        ] {
            assert_eq!(&*scrub(text), kept);
        }
    }

    #[test]
    fn a_long_text_ends() {
        assert!(scrub(&"word ".repeat(1000)).chars().count() <= MAX_TEXT);
    }
}
