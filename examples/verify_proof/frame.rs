//! One judgement: a request as JSON, put to a verifier of its own.
//!
//! Tolerant where it reads the frame (members may be missing, header fields may be a list or an object), since that is
//! this program's own input. Everything that a client would have sent goes to the verifier as it is.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::jose::{Algorithm, Thumbprint};
use shipbound::verify::{
    FixedNonces, GrantFacts, MemoryReplayLog, NoncePolicy, ProofVerifier, Received, TokenConfirmation, TokenFacts,
};

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    Accepted,
    Rejected {
        code: &'static str,
        /// The status of the answer. Not read by the program, which tells the code alone.
        #[allow(dead_code, reason = "read by the tests that share this file")]
        status: u16,
        /// The OAuth error of the answer.
        #[allow(dead_code, reason = "read by the tests that share this file")]
        oauth_error: Option<&'static str>,
    },
}

/// Judges `input`, after the requests in its `prior`, which have the same verifier and replay log and inherit what they
/// leave out.
///
/// The verifier counts as started one window before the earliest `now`: a single proof cannot be a replay from before.
pub(crate) async fn judge(input: &Value) -> Result<Verdict, &'static str> {
    let input = input.as_object().ok_or("input is no object")?;
    let mut requests = Vec::new();
    for earlier in input.get("prior").and_then(Value::as_array).into_iter().flatten() {
        let mut request = input.clone();
        request.extend(earlier.as_object().ok_or("a prior request is no object")?.clone());
        requests.push(Request::read(&request)?);
    }
    requests.push(Request::read(input)?);

    let policy = input.get("policy").cloned().unwrap_or_default();
    let seconds = |name: &str, default| match policy.get(name) {
        None | Some(Value::Null) => Ok(Duration::from_secs(default)),
        Some(value) => value
            .as_u64()
            .map(Duration::from_secs)
            .ok_or("policy is no whole number"),
    };
    let max_age = seconds("max_age_s", 60)?;
    let earliest = requests
        .iter()
        .map(|request| request.now)
        .min()
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let window = i64::try_from(max_age.as_secs()).map_err(|_| "max_age_s is out of range")?;
    let clock = Arc::new(ManualClock::at(earliest));
    let log = MemoryReplayLog::with_capacity(earliest.offset_seconds(-window), 10_000).map_err(|_| "no replay log")?;
    let mut builder = ProofVerifier::builder(Arc::clone(&clock) as _, Arc::new(log))
        .max_age(max_age)
        .max_future(seconds("max_future_s", 10)?)
        .nonces(nonces(input, &policy));
    if let Some(names) = policy.get("algs").and_then(Value::as_array) {
        let names = names.iter().filter_map(Value::as_str);
        let mut algorithms: Vec<Algorithm> = names.filter_map(Algorithm::from_jws_name).collect();
        algorithms.dedup();
        builder = builder.algorithms(algorithms);
    }
    let limit = |name: &str| {
        policy
            .get(name)
            .and_then(Value::as_u64)
            .and_then(|limit| usize::try_from(limit).ok())
    };
    if let Some(octets) = limit("max_proof_bytes") {
        builder = builder.max_proof_bytes(octets);
    }
    if let Some(octets) = limit("max_jti_bytes") {
        builder = builder.max_jti_bytes(octets);
    }
    let verifier = builder
        .build()
        .map_err(|_| "the policy is not one that a verifier takes")?;

    let mut verdict = Verdict::Accepted;
    for request in &requests {
        clock.set_wall(request.now);
        verdict = request.judge(&verifier).await;
    }
    Ok(verdict)
}

fn nonces(input: &serde_json::Map<String, Value>, policy: &Value) -> NoncePolicy {
    let listed = input.get("expected_nonces").and_then(Value::as_array);
    let nonces: Vec<&str> = listed.into_iter().flatten().filter_map(Value::as_str).collect();
    let required = policy.get("nonce_required").and_then(Value::as_bool);
    match (nonces.is_empty(), required) {
        (true, None | Some(false)) => NoncePolicy::Off,
        (false, Some(false)) => NoncePolicy::Optional(Arc::new(FixedNonces::new(nonces))),
        (_, _) => NoncePolicy::Required(Arc::new(FixedNonces::new(nonces))),
    }
}

struct Request {
    resource: bool,
    method: Method,
    url: String,
    now: Timestamp,
    headers: HeaderMap,
    /// The code for a field that HTTP itself would not carry.
    illegal: Option<&'static str>,
    active: bool,
    confirmation: TokenConfirmation,
    client: Option<String>,
    certificate: Option<Thumbprint>,
}

impl Request {
    fn read(input: &serde_json::Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| input.get(name).and_then(Value::as_str);
        let resource = match text("role") {
            Some("rs") => true,
            Some("as") => false,
            _ => return Err("role is neither rs nor as"),
        };
        let method = text("method").ok_or("no method")?;
        let (headers, illegal) = headers(input.get("headers"))?;
        let token = input.get("token").filter(|token| !token.is_null());
        let active = token.is_some_and(|token| token.get("active").is_none_or(|active| active.as_bool() == Some(true)));
        let client = token.and_then(|token| token.get("client_id")).and_then(Value::as_str);
        Ok(Self {
            resource,
            method: method.parse().map_err(|_| "method is no token")?,
            url: text("url").ok_or("no url")?.to_owned(),
            now: instant(input.get("now"))?,
            headers,
            illegal,
            active,
            confirmation: confirmation(token.and_then(|token| token.get("cnf"))),
            client: client.map(str::to_owned),
            certificate: text("tls_client_cert_x5t").and_then(Thumbprint::from_base64url),
        })
    }

    async fn judge(&self, verifier: &ProofVerifier) -> Verdict {
        let mut received = Received::new(&self.method, &self.url, &self.headers);
        if let Some(x5t) = self.certificate {
            received = received.client_certificate(x5t);
        }
        if let Some(code) = self.illegal {
            return Verdict::Rejected {
                code,
                status: if self.resource { 401 } else { 400 },
                oauth_error: Some("invalid_dpop_proof").filter(|_| code == "E_MALFORMED"),
            };
        }
        let result = if self.resource {
            let mut facts = match self.active {
                true => TokenFacts::active(self.confirmation),
                false => TokenFacts::inactive(),
            };
            if let Some(client) = &self.client {
                facts = facts.client(client);
            }
            verifier.verify_resource(&received, &facts).await
        } else {
            verifier.verify_token_request(&received, &GrantFacts::unbound()).await
        };
        match result {
            Ok(_) => Verdict::Accepted,
            Err(rejection) => Verdict::Rejected {
                code: rejection.reason().code(),
                status: rejection.status().as_u16(),
                oauth_error: rejection.oauth_error(),
            },
        }
    }
}

fn instant(value: Option<&Value>) -> Result<Timestamp, &'static str> {
    let value = value.ok_or("no now")?;
    if let Some(seconds) = value.as_i64() {
        return Ok(Timestamp::from_unix_seconds(seconds));
    }
    let seconds = value.as_f64().ok_or("now is no number")?;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, which no window reaches"
    )]
    Ok(Timestamp::from_unix_micros((seconds * 1e6).round() as i64))
}

/// The header fields, from pairs or from an object. White space around a value belongs to HTTP and not to the value.
fn headers(fields: Option<&Value>) -> Result<(HeaderMap, Option<&'static str>), &'static str> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    match fields {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) => {
            for pair in list {
                let pair = pair.as_array().map(Vec::as_slice);
                let Some([Value::String(name), Value::String(value)]) = pair else {
                    return Err("a header field is no pair of texts");
                };
                pairs.push((name, value));
            }
        }
        Some(Value::Object(members)) => {
            for (name, value) in members {
                let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                for value in values {
                    pairs.push((name, value.as_str().ok_or("a header field is no text")?));
                }
            }
        }
        Some(_) => return Err("headers are neither a list nor an object"),
    }
    let mut map = HeaderMap::new();
    let mut illegal = None;
    for (name, value) in pairs {
        let name: HeaderName = name.parse().map_err(|_| "a header field's name is no token")?;
        match HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes()) {
            Ok(value) => {
                map.try_append(name, value).map_err(|_| "too many header fields")?;
            }
            Err(_) if name == "dpop" => illegal = illegal.or(Some("E_MALFORMED")),
            Err(_) if name == "authorization" => illegal = Some("E_TOKEN_MISSING"),
            Err(_) => {}
        }
    }
    Ok((map, illegal))
}

fn confirmation(cnf: Option<&Value>) -> TokenConfirmation {
    match cnf {
        None | Some(Value::Null) => TokenConfirmation::Unbound,
        Some(Value::Object(cnf)) => {
            // A member that is no text is as good as one that is no thumbprint.
            let member = |name: &str| cnf.get(name).map(|value| value.as_str().unwrap_or_default());
            TokenConfirmation::from_members(member("jkt"), member("x5t#S256"))
        }
        Some(_) => TokenConfirmation::Unreadable,
    }
}
