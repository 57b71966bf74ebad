//! Searching texts for secrets, also where they are encoded.
#![allow(dead_code, clippy::expect_used, reason = "test support")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What every secret of a test begins with: those that the sandbox makes do so by themselves.
pub(crate) const MARKER: &str = shipbound::sandbox::SECRET_MARK;

/// A secret for a test, marked.
pub(crate) fn marked(name: &str) -> String {
    format!("{MARKER}-{name}")
}

/// Finds secrets in what was printed, logged or shown.
pub(crate) struct Scanner {
    /// What is looked for, and its description.
    needles: Vec<(String, String)>,
    /// As that, in lower case, for texts of which the case was changed.
    folded: Vec<(String, String)>,
}

impl Scanner {
    /// Looks for the [`MARKER`], and with it for every secret that bears it.
    pub(crate) fn new() -> Self {
        let mut scanner = Self {
            needles: Vec::new(),
            folded: Vec::new(),
        };
        scanner.secret("the marker", MARKER.as_bytes());
        let folded = MARKER.to_ascii_lowercase();
        scanner.folded.push(("the marker in another case".into(), folded));
        scanner
    }

    /// Looks for this text as well, as it is.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        assert!(text.len() > START, "{name} is too short to be found by");
        self.needles.push((name.to_owned(), text.to_owned()));
    }

    /// Looks for these octets as well: raw, escaped, percent-encoded, in hexadecimal, as a list of numbers, in base64.
    pub(crate) fn secret(&mut self, name: &str, octets: &[u8]) {
        let each = |shape: &dyn Fn(u8) -> String, between: &str| {
            let all: Vec<_> = octets.iter().map(|octet| shape(*octet)).collect();
            all.join(between)
        };
        let mut shapes = vec![
            ("escaped", octets.escape_ascii().to_string()),
            ("percent-encoded", each(&|octet| format!("%{octet:02X}"), "")),
            ("percent-encoded", each(&|octet| format!("%{octet:02x}"), "")),
            ("in hexadecimal", each(&|octet| format!("{octet:02x}"), "")),
            ("in hexadecimal", each(&|octet| format!("{octet:02X}"), "")),
            ("in hexadecimal", each(&|octet| format!("{octet:02x}"), " ")),
            ("in hexadecimal", each(&|octet| format!("{octet:02X}"), ":")),
            ("as numbers", each(&|octet| octet.to_string(), ", ")),
            ("as numbers", each(&|octet| octet.to_string(), ",")),
            ("as numbers", each(&|octet| format!("{octet:#x}"), ", ")),
        ];
        if let Ok(text) = std::str::from_utf8(octets) {
            shapes.push(("raw", text.to_owned()));
        }
        // Where the secret begins within three octets decides what it looks like; characters that hold bits of what is
        // around it are left out.
        for before in 0..3 {
            let mut padded = vec![0; before];
            padded.extend_from_slice(octets);
            let whole = padded.len() * 8 / 6;
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let text = engine.encode(&padded);
                let certain = text.get((before * 8).div_ceil(6)..whole).expect("base64 is ASCII");
                shapes.push(("in base64", certain.to_owned()));
            }
        }
        let shapes: BTreeSet<_> = shapes.into_iter().collect();
        for (shape, needle) in shapes {
            self.text(&format!("{name} {shape}"), &needle);
        }
    }

    /// What is in `text`: descriptions, each with its surroundings.
    pub(crate) fn find(&self, text: &str) -> Vec<String> {
        let mut found = look(text, &self.needles);
        found.extend(look(&text.to_ascii_lowercase(), &self.folded));
        found
    }
}

/// The first place of each needle in `text`. One pass over the text, for however many needles: there is one for each proof.
fn look(text: &str, needles: &[(String, String)]) -> Vec<String> {
    let start = |octets: &[u8]| {
        octets
            .iter()
            .take(START)
            .fold(0_u64, |all, octet| all << 8 | u64::from(*octet))
    };
    let slot = |start: u64| usize::try_from(start % 65_521).expect("it is small");
    let mut maybe = vec![false; 65_521];
    let mut starts: HashMap<u64, Vec<&(String, String)>> = HashMap::new();
    for needle in needles {
        let start = start(needle.1.as_bytes());
        starts.entry(start).or_default().push(needle);
        if let Some(maybe) = maybe.get_mut(slot(start)) {
            *maybe = true;
        }
    }
    let mut found = BTreeMap::new();
    let mut last = 0_u64;
    for (at, octet) in text.bytes().enumerate() {
        last = last << 8 | u64::from(octet);
        if at + 1 < START || maybe.get(slot(last)) != Some(&true) {
            continue;
        }
        let at = at + 1 - START;
        for (name, needle) in starts.get(&last).into_iter().flatten() {
            if text.as_bytes().get(at..at + needle.len()) == Some(needle.as_bytes()) && !found.contains_key(name) {
                let around =
                    text.floor_char_boundary(at.saturating_sub(200))..text.floor_char_boundary(at + needle.len() + 40);
                found.insert(name, format!("{name}: {:?}", text.get(around).unwrap_or_default()));
            }
        }
    }
    found.into_values().collect()
}

/// How many octets of a needle are compared first.
const START: usize = 8;

/// Everything that a value shows of itself.
#[derive(Default)]
pub(crate) struct Shown(pub(crate) String);

impl Shown {
    pub(crate) fn debug(&mut self, value: &dyn std::fmt::Debug) {
        writeln!(self.0, "{value:?}\n{value:#?}").expect("a String takes everything");
    }

    /// An error with all of its sources.
    pub(crate) fn error(&mut self, error: &dyn std::error::Error) {
        let mut next = Some(error);
        while let Some(error) = next {
            writeln!(self.0, "{error}\n{error:#}").expect("a String takes everything");
            self.debug(&error);
            next = error.source();
        }
    }
}
