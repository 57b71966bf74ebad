//! Where the search begins: the conformance vectors and the test keys, written as the targets read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::exchange::BETWEEN;
use crate::keys::LABELS;
use crate::verify::{honest_claims, honest_header};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data");

fn group(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{DATA}/vectors.json")).unwrap();
    let mut vectors: Value = serde_json::from_str(&text).unwrap();
    let Value::Array(group) = vectors[name].take() else {
        panic!("no vectors {name}");
    };
    group
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn header_lines(input: &Value) -> String {
    let pairs = input["headers"].as_array().into_iter().flatten();
    pairs
        .map(|pair| {
            format!(
                "{}: {}\n",
                pair[0].as_str().unwrap_or_default(),
                pair[1].as_str().unwrap_or_default()
            )
        })
        .collect()
}

pub(crate) fn proofs() -> Vec<Vec<u8>> {
    let fields = group("proofs").into_iter().flat_map(|vector| {
        let headers = vector["input"]["headers"].as_array().cloned().unwrap_or_default();
        let proofs = headers.into_iter().filter(|pair| pair[0] == "DPoP");
        proofs.map(|pair| pair[1].as_str().unwrap_or_default().as_bytes().to_vec())
    });
    fields.collect()
}

pub(crate) fn signed_proofs() -> Vec<Vec<u8>> {
    let header = honest_header();
    let honest = [
        honest_claims(&[]),
        honest_claims(&[
            ("nonce", json!("n-1")),
            ("exp", json!(1_800_000_001)),
            ("nbf", json!(1_800_000_000.5)),
        ]),
        honest_claims(&[("nonce", json!("n-0")), ("iat", json!(1.8e9))]),
        honest_claims(&[(
            "htu",
            json!("HTTPS://API.carrier.example:443/a/../ship/v1/%73hipments?x#y"),
        )]),
        honest_claims(&[("jti", json!("a\u{e4}\"")), ("x", json!([{ "y": null }]))]),
    ];
    let names = ["jti", "htm", "htu", "iat", "ath", "nonce", "exp", "nbf"];
    let odd = names
        .iter()
        .flat_map(|name| ODD.map(|value| honest_claims(&[(name, value())])));
    let odd_header = ["typ", "alg", "jwk", "crit", "b64", "kid"]
        .into_iter()
        .flat_map(|name| {
            let header = &header;
            ODD.map(|value| format!("{}\n{}", with(header, name, value()), honest_claims(&[])))
        });
    let signed = honest
        .into_iter()
        .chain(odd)
        .map(|claims| format!("{header}\n{claims}"));
    signed.chain(odd_header).map(String::into_bytes).collect()
}

/// Values that a member may be given by a peer who wants to know what happens.
const ODD: [fn() -> Value; 5] = [|| json!(""), || json!(0), || json!(null), || json!([]), || json!({})];

fn with(object: &str, name: &str, value: Value) -> String {
    let mut object: Value = serde_json::from_str(object).unwrap();
    object[name] = value;
    object.to_string()
}

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let request = |vector: Value| {
        let input = &vector["input"];
        let cnf = &input["token"]["cnf"];
        let options = match (text(input, "role"), input["expected_nonces"].is_array()) {
            ("as", _) => '1',
            (_, true) => '2',
            _ => '0',
        };
        format!(
            "{options}{}\n{} {}\n{}\n{}\n{}",
            input["now"],
            text(cnf, "jkt"),
            text(cnf, "x5t#S256"),
            text(input, "method"),
            text(input, "url"),
            header_lines(input)
        )
    };
    group("proofs")
        .into_iter()
        .map(|vector| request(vector).into_bytes())
        .collect()
}

pub(crate) fn jwks() -> Vec<Vec<u8>> {
    let honest: Vec<_> = group("thumbprints")
        .iter()
        .map(|vector| vector["input"]["jwk"].to_string())
        .collect();
    let names = ["d", "p", "oth", "k", "use", "key_ops", "alg", "crv", "x5c"];
    let odd = honest
        .iter()
        .flat_map(|jwk| names.map(|name| with(jwk, name, json!(""))))
        .collect::<Vec<_>>();
    honest.into_iter().chain(odd).map(String::into_bytes).collect()
}

pub(crate) fn jws() -> Vec<Vec<u8>> {
    let vectors = group("jws").into_iter();
    vectors
        .map(|vector| format!("{}\n{}", vector["input"]["jwk"], text(&vector["input"], "jws")).into_bytes())
        .collect()
}

pub(crate) fn htu() -> Vec<Vec<u8>> {
    let vectors = group("htu").into_iter();
    vectors
        .map(|vector| {
            format!(
                "{}\n{}",
                text(&vector["input"], "htu"),
                text(&vector["input"], "request_url")
            )
            .into_bytes()
        })
        .collect()
}

pub(crate) fn targets() -> Vec<Vec<u8>> {
    let urls = group("client_proof_htu")
        .into_iter()
        .map(|vector| text(&vector["input"], "request_url").to_owned());
    let more = [
        "http://127.0.0.1:8080/a",
        "https://[::1]/a?b",
        "HTTP://LocalHost:80",
        "https://h.example",
    ];
    urls.chain(more.map(str::to_owned))
        .map(|url| format!("{url}\n/rate/v1/rates?x=%20#y").into_bytes())
        .collect()
}

pub(crate) fn nonces() -> Vec<Vec<u8>> {
    group("nonce_headers")
        .iter()
        .map(|vector| header_lines(&vector["input"]).into_bytes())
        .collect()
}

/// One answer, after the octet of options.
fn answer(options: char, status: u64, headers: &str, body: &str) -> Vec<u8> {
    let media = if headers.to_ascii_lowercase().contains("content-type") {
        ""
    } else {
        "content-type: application/json\n"
    };
    format!("{options}{status}\n{media}{headers}\n{body}").into_bytes()
}

pub(crate) fn challenges() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = group("www_authenticate")
        .iter()
        .map(|vector| {
            let input = &vector["input"];
            answer('0', input["status"].as_u64().unwrap_or(401), &header_lines(input), "{}")
        })
        .collect();
    let refused =
        "WWW-Authenticate: DPoP error=\"invalid_dpop_proof\", algs=\"ES256\"\nDate: Fri, 15 Jan 2027 08:00:50 GMT\n";
    seeds.push(answer('2', 401, refused, ""));
    seeds.push(answer('4', 401, "", r#"{"errors":[{"code":"NOT.AUTHORIZED.ERROR"}]}"#));
    seeds.push(answer('0', 429, "Retry-After: 120\n", ""));
    seeds.push(answer('0', 503, "Retry-After: Fri, 15 Jan 2027 08:01:50 GMT\n", ""));
    seeds.push(answer('0', 421, "", ""));
    seeds
}

pub(crate) fn token_answers() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = group("token_responses")
        .iter()
        .map(|vector| {
            let input = &vector["input"];
            answer(
                '0',
                input["status"].as_u64().unwrap_or(200),
                &header_lines(input),
                text(input, "body"),
            )
        })
        .collect();
    let late = r#"{"access_token":"a","token_type":"Bearer","expires_at":"1800000300"}"#;
    seeds.push(answer('5', 200, "", late));
    seeds.push(answer('5', 200, "", r#"{"access_token":"a","expires_at":1.8e9}"#));
    seeds
}

pub(crate) fn metadata() -> Vec<Vec<u8>> {
    let documents = group("metadata").into_iter();
    documents
        .map(|vector| {
            let input = &vector["input"];
            answer(
                '0',
                input["url_status"].as_u64().unwrap_or(200),
                "",
                &input["document"].to_string(),
            )
        })
        .collect()
}

pub(crate) fn exchanges() -> Vec<Vec<u8>> {
    let document = json!({
        "issuer": "https://auth.carrier.example",
        "token_endpoint": "https://auth.carrier.example/token",
        "dpop_signing_alg_values_supported": ["ES256", "EdDSA"]
    });
    let metadata = answer('0', 200, "", &document.to_string());
    let nonce = answer(' ', 400, "DPoP-Nonce: n1\n", r#"{"error":"use_dpop_nonce"}"#);
    let token = answer(
        ' ',
        200,
        "DPoP-Nonce: n2\n",
        r#"{"access_token":"a","token_type":"DPoP","expires_in":60}"#,
    );
    let join = |answers: &[&[u8]]| {
        let mut all = metadata.clone();
        for answer in answers {
            all.push(BETWEEN);
            all.extend_from_slice(&answer[1..]);
        }
        all
    };
    let mut seeds = vec![
        join(&[&nonce, &token]),
        join(&[&nonce, &nonce]),
        answer('0', 404, "", ""),
    ];
    for challenge in challenges() {
        seeds.push(join(&[&token, &challenge]));
        seeds.push(join(&[&nonce, &token, &challenge, &token]));
    }
    seeds
}

fn key_files() -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(format!("{DATA}/keys"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "pem"))
        .collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

pub(crate) fn key_pem() -> Vec<Vec<u8>> {
    key_files()
}

pub(crate) fn key_der() -> Vec<Vec<u8>> {
    let read = |pem: Vec<u8>| {
        let pem = String::from_utf8(pem).unwrap();
        let lines = pem
            .lines()
            .filter(|line| !line.starts_with("-----") && !line.contains(':'));
        let der = STANDARD.decode(lines.collect::<String>()).ok()?;
        let label = LABELS
            .iter()
            .position(|label| pem.contains(&format!("BEGIN {label}-")))?;
        Some([vec![u8::try_from(label).unwrap()], der].concat())
    };
    key_files().into_iter().filter_map(read).collect()
}

pub(crate) fn key_jwk() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(format!("{DATA}/vectors.json")).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let keys = vectors["keys"].as_object().unwrap().values();
    let mut seeds: Vec<_> = keys.map(|key| key["private_jwk"].to_string().into_bytes()).collect();
    seeds.push(std::fs::read(format!("{DATA}/keys/rsa2048-composite-factor.json")).unwrap());
    seeds
}

/// Certificates with their keys, as tests of the transport read them.
const IDENTITIES: [&str; 5] = ["p256", "p384", "p521", "ed25519", "rsa2048"];

fn identity_file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{DATA}/identities/{name}")).unwrap()
}

pub(crate) fn identity_pem() -> Vec<Vec<u8>> {
    let both = |name: &str| {
        let parts = [format!("{name}.pem"), format!("{name}.key")].map(|file| identity_file(&file));
        parts.join(crate::identity::BETWEEN)
    };
    IDENTITIES.into_iter().map(both).collect()
}

pub(crate) fn identity_der() -> Vec<Vec<u8>> {
    let odd = ["no-usage", "server-only", "version1", "sha1", "sha1-self-signed", "md5"];
    let certificates = IDENTITIES.into_iter().chain(odd).map(|name| {
        let text = String::from_utf8(identity_file(&format!("{name}.pem"))).unwrap();
        let first = text.split("-----END").next().unwrap_or_default();
        let lines = first.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
        STANDARD.decode(lines.collect::<String>()).unwrap()
    });
    certificates.collect()
}

pub(crate) fn introspection() -> Vec<Vec<u8>> {
    let answers = group("introspection").into_iter().map(|vector| vector["input"].clone());
    answers.map(|answer| answer.to_string().into_bytes()).collect()
}

pub(crate) fn pending() -> Vec<Vec<u8>> {
    let thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let pending = |jkt: Value, x5t: Value| {
        json!({
            "tenant": "acme", "incarnation": "00000000-0000-0000-0000-000000000000", "client": thumbprint, "state": "s",
            "verifier": "v", "redirect_uri": "https://app.example/back", "jkt": jkt, "x5t": x5t, "until": 1_800_000_000,
        })
    };
    [
        pending(Value::Null, Value::Null),
        pending(json!(thumbprint), json!(thumbprint)),
    ]
    .map(|one| one.to_string().into_bytes())
    .into()
}

pub(crate) fn credential_routes() -> Vec<Vec<u8>> {
    let paths = [
        "/oauth/token\n/OAuth/%74oken",
        "/v2/users/{id}/api_keys\n/v2//users/u1/api%255fkeys;x/k",
        "/oauth/token\n/x/%2e%2e/oauth%2Ftoken%00.json",
        "/v2/users/{id}/api_keys\n/v2/users/u_1%2Fx/api_keys%253fx",
        "/oauth/token\n/oauth/token.json",
        "/oauth/token\n/locations/M%C3%BCnchen",
        "/oauth/token\n/rate/v1/rates/quotes",
    ];
    paths.map(|text| text.as_bytes().to_vec()).into()
}

pub(crate) fn faults() -> Vec<Vec<u8>> {
    let answers = [
        "401\n\n{\"errors\":[{\"code\":\"KNOWN\",\"message\":\"It is 'Jane Roe' of 10115 Berlin\"}]}",
        "401\n\n{\"errors\":[{\"message\":\"card 4111 1111 1111 - 1111 of \u{201e}Jane\u{201c} <a \\\"b\"}]}",
        "422\nx-code: E7\nx-text: no such place, see https://a.example/x?y=1\n\n",
        "500\n\n{\"errors\":[{\"code\":12,\"message\":[\"a\",{\"b\":\"c\"}]}]}",
        "200\nx-code: KNOWN\n\n",
    ];
    answers.map(|text| [&b"\x09"[..], text.as_bytes()].concat()).into()
}
