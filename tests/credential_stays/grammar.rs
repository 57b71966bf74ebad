//! Texts that lead elsewhere, or can be read in two ways, put together from pieces.

use crate::random::Random;
use crate::world::World;

/// Spellings of "up" and of "here".
const DOTS: &[&str] = &[
    "..",
    ".",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "%252e%252e",
    "..;",
    "..;x=1",
    ".;",
    "%2e%2e;a",
    "...",
    "..%00",
    "..%2f",
    "..%5c",
    "%c0%ae%c0%ae",
    "..\\",
    "%u002e",
];

/// Segments that mean nothing.
const PLAIN: &[&str] = &[
    "rate",
    "v1",
    "v2",
    "labels",
    "1Z999AA10123456784",
    "a b",
    "a%20b",
    "",
    "~x",
    "a;v=1",
    "%7Euser",
    "%",
    "%zz",
    "%2",
    "é",
    "x'y",
    "a:b",
    "a@b",
    "{id}",
    "[x]",
    "*",
    "(y)",
    "$z",
    "&",
    "=",
    "+",
    ",",
    "%2F",
    "%5C",
    "%25",
    "%0d%0a",
    "%00",
    "\t",
];

const BETWEEN: &[&str] = &[
    "/", "/", "/", "/", "/", "//", "\\", "/./", "%2f", "%2F", "%5c", "/;/", "/%2e/",
];

const ENDS: &[&str] = &[
    "",
    "",
    "",
    "",
    "/",
    "//",
    "?",
    "?a=b",
    "?x=/../",
    "?'",
    "?q=https://evil.example/",
    "#",
    "#top",
    "?a#b",
    ";jsessionid=1",
    ".json",
    "%20",
    "%00",
    ".",
    "\r\nhost: evil.example",
    " HTTP/1.1",
    "?%0d%0a",
    "\u{ff0f}",
];

const SCHEMES: &[&str] = &[
    "http://",
    "http://",
    "http://",
    "https://",
    "HTTP://",
    "hTTp://",
    "http:/",
    "http:",
    "http:\\\\",
    "http:///",
    "//",
    "ws://",
    "ftp://",
    "h\tttp://",
    " http://",
    "file://",
    "javascript:",
];

/// A path from the root of the API.
pub(crate) fn path(random: &mut Random, world: &World) -> String {
    let mut text = String::from("/");
    if random.once_in(8) {
        text.push_str(random.one_of(&["/", "\\", ".", "\t", "%2f", ";"]));
    }
    if random.once_in(3) {
        // Somewhere near to where nobody should come.
        if random.once_in(2) {
            text.push_str(random.one_of(&["rate", "x", "%2e", ""]));
            text.push_str(random.one_of(BETWEEN));
            text.push_str(random.one_of(DOTS));
            text.push_str(random.one_of(BETWEEN));
        }
        let guarded = guarded(random, world);
        text.push_str(guarded.trim_start_matches('/'));
    } else {
        for _ in 0..=random.below(4) {
            text.push_str(match random.below(5) {
                0 => random.one_of(DOTS),
                _ => random.one_of(PLAIN),
            });
            text.push_str(random.one_of(BETWEEN));
        }
    }
    text.push_str(random.one_of(ENDS));
    text
}

/// A harmless path.
pub(crate) fn harmless(random: &mut Random) -> String {
    let pieces = [
        "/rate",
        "/v1",
        "/labels/x",
        "/1Z9",
        "/a%20b",
        "/a;v=1",
        "//b",
        "/%7Euser",
        "/a%2Fb",
    ];
    let mut text = String::from("/ship");
    text.push_str(&random.pieces(&pieces, 3));
    text.push_str(random.one_of(&["", "", "?a=b", "?x=/../y", "#top", "/"]));
    text
}

/// A guarded path as its template has it, spelled in another way.
fn guarded(random: &mut Random, world: &World) -> String {
    let Some(template) = (!world.guarded.is_empty()).then(|| random.one_of(&world.guarded)) else {
        return "oauth/token".to_owned();
    };
    let path = template.replace(['{', '}'], "");
    // As the application writes it, or whole.
    let path = match random.once_in(2) {
        true => path.strip_prefix(&world.base_path).unwrap_or(&path).to_owned(),
        false => path,
    };
    let mut text = String::new();
    for character in path.chars() {
        let octet = u32::from(character);
        match random.below(12) {
            0 => text.push_str(&format!("%{octet:02x}")),
            1 => text.push_str(&format!("%{octet:02X}")),
            2 => text.push_str(&format!("%25{octet:02x}")),
            3 => text.push_str(&format!("%2525{octet:02x}")),
            4 => text.push(character.to_ascii_uppercase()),
            5 if character == '/' => text.push_str("//"),
            6 if character == '/' => text.push_str(";a=b/"),
            7 if character == '/' => text.push_str("/.;/"),
            8 if character == '/' => text.push('\\'),
            _ => text.push(character),
        }
    }
    text
}

/// A URL, of whatever origin.
pub(crate) fn url(random: &mut Random, world: &World) -> String {
    let mut text = random.one_of(SCHEMES).to_owned();
    text.push_str(&authority(random, world));
    if !random.once_in(8) {
        text.push_str(&path(random, world));
    }
    text
}

/// An authority that is the inside's, an outside's, or looks like one of them.
pub(crate) fn authority(random: &mut Random, world: &World) -> String {
    let inside = world.inside.address.to_string();
    let outside = random.one_of(&world.outside.each_ref().map(|one| one.address.to_string()));
    let ports = [world.inside.address.port(), world.outside[0].address.port()];
    let port = random.one_of(&ports);
    match random.below(14) {
        0..=3 => inside,
        4 | 5 => outside,
        6 => format!("{inside}@{outside}"),
        7 => format!("{outside}@{inside}"),
        8 => format!("user:password@{inside}"),
        9 => format!("{inside}.evil.example"),
        10 => format!("evil.example.:{port}"),
        11 => format!("{inside}\\@{outside}"),
        12 => format!("{inside}%2f@{outside}"),
        _ => {
            let host = random.one_of(&[
                "localhost",
                "LOCALHOST",
                "localhost.",
                "127.1",
                "127.0.0.1.",
                "2130706433",
                "0x7f000001",
                "0177.0.0.1",
                "[::1]",
                "[::ffff:127.0.0.1]",
                "0",
                "127.0.0.2",
                "127.000.000.001",
                "①②⑦.0.0.1",
                "127。0。0。1",
                "0x7f.1",
                "[::]",
                "",
                "169.254.169.254",
                "%31%32%37.0.0.1",
                "evil.example",
            ]);
            let port = random.one_of(&[
                format!(":{port}"),
                format!(":0{port}"),
                String::new(),
                ":".to_owned(),
                format!(":{port}0"),
                format!(":+{port}"),
            ]);
            format!("{host}{port}")
        }
    }
}
