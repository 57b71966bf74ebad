//! What a carrier's file says: requests as they have to arrive, answers as the carrier gives them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use shipbound::sandbox::Canned;

pub(crate) type Headers = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) profile: String,
    pub(crate) written_from: String,
    pub(crate) credential: Login,
    pub(crate) token: Option<Token>,
    pub(crate) companion: Option<Companion>,
    pub(crate) call: Option<Call>,
    pub(crate) test_call: Option<TestCall>,
    #[serde(default)]
    pub(crate) faults: Vec<Fault>,
    pub(crate) throttled: Option<Throttled>,
    #[serde(default)]
    pub(crate) routes: Vec<KnownRoute>,
    #[serde(default)]
    pub(crate) credential_routes: Vec<String>,
    #[serde(default)]
    pub(crate) locked_headers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    #[serde(default)]
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<String>,
    #[serde(default)]
    pub(crate) parts: BTreeMap<String, Part>,
}

/// A part of a credential: a text, or JSON that is the text.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Part(Value);

impl Part {
    pub(crate) fn text(&self) -> String {
        self.0.as_str().map_or_else(|| self.0.to_string(), str::to_owned)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    pub(crate) request: TokenRequest,
    pub(crate) answer: Answer,
    pub(crate) access_token: String,
    /// Left out where the answer says when the token ends, which is [`END_S`] from now then.
    pub(crate) lifetime_s: Option<u64>,
}

/// How long a token lives whose answer says when it ends.
const END_S: u64 = 3600;

/// A second token, which the credential's part of its profile is sent for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Companion {
    pub(crate) request: TokenRequest,
    pub(crate) answer: Answer,
    pub(crate) token: String,
    pub(crate) lifetime_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: Headers,
    #[serde(default)]
    pub(crate) absent_headers: Vec<String>,
    pub(crate) form: Option<BTreeMap<String, String>>,
    pub(crate) json: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    status: u16,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// From the profile's base.
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    pub(crate) arrives: Arrival,
    pub(crate) route: String,
    pub(crate) class: String,
    pub(crate) answer: Answer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arrival {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: Headers,
    #[serde(default)]
    pub(crate) present_headers: Vec<String>,
    #[serde(default)]
    pub(crate) absent_headers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestCall {
    pub(crate) method: String,
    /// As it is on the wire.
    pub(crate) path: String,
    pub(crate) answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum At {
    Api,
    Token,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) at: At,
    status: u16,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    body: Value,
    pub(crate) kind: String,
    pub(crate) may_mean: Vec<String>,
    pub(crate) code: Option<String>,
    pub(crate) retryable: bool,
    pub(crate) repeated: bool,
    pub(crate) retry_after_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Throttled {
    pub(crate) at: At,
    status: u16,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    body: Value,
    pub(crate) retry_after_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnownRoute {
    pub(crate) method: String,
    /// As it is on the wire.
    pub(crate) path: String,
    pub(crate) template: String,
    pub(crate) class: String,
    pub(crate) personal: bool,
}

impl File {
    pub(crate) fn read(name: &str) -> Self {
        let path = directory().join(format!("{name}.json"));
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file: Self = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(file.profile, name, "{}", path.display());
        assert!(!file.written_from.is_empty(), "{name} has no source");
        file
    }
}

/// The names of all files.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(directory()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .map(|name| name.strip_suffix(".json").expect("only JSON files").to_owned())
        .collect();
    names.sort();
    names
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/carriers")
}

impl Token {
    pub(crate) fn life(&self) -> Duration {
        Duration::from_secs(self.lifetime_s.unwrap_or(END_S))
    }
}

impl Answer {
    pub(crate) fn canned(&self) -> Canned {
        canned(self.status, &self.headers, &self.body)
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        self.body.get(name)
    }
}

impl Fault {
    pub(crate) fn canned(&self) -> Canned {
        canned(self.status, &self.headers, &self.body)
    }
}

impl Throttled {
    pub(crate) fn canned(&self) -> Canned {
        canned(self.status, &self.headers, &self.body)
    }
}

/// A body that is a text goes as it is, anything else as JSON.
fn canned(status: u16, headers: &Headers, body: &Value) -> Canned {
    let plain = match body {
        Value::Null => Canned::empty(status),
        Value::String(text) if text.is_empty() => Canned::empty(status),
        Value::String(text) => Canned::text(status, text.as_str()),
        value => Canned::json(status, value),
    };
    headers
        .iter()
        .fold(plain, |canned, (name, value)| canned.header(name, value))
}
