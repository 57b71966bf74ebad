//! What the servers recorded, judged: each key, token and nonce with its own client and no other.

use std::collections::{HashMap, HashSet};

use shipbound::sandbox::{Endpoint, Recorded};

/// The header in which a test says who makes a call. No server believes it; the judge compares it with the token.
pub(crate) const CALLER: &str = "x-test-caller";

/// Something that must not have happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Violation {
    /// A call arrived with the token of another client than the one that made it.
    CallAsAnother { caller: String, client: String },
    /// A call arrived with a token that no client has.
    UnknownToken { caller: String },
    /// A proof key was used by two clients: for their token requests, or with their tokens.
    KeyOfTwo { jkt: String, clients: [String; 2] },
    /// A client used two keys, where it has one.
    TwoKeys { client: String },
    /// A nonce was sent by a key that had not been given it by that server.
    ForeignNonce { client: String },
    /// A request without a proof.
    Unproved { client: String },
}

impl Violation {
    /// The violation's name, to compare kinds.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::CallAsAnother { .. } => "CallAsAnother",
            Self::UnknownToken { .. } => "UnknownToken",
            Self::KeyOfTwo { .. } => "KeyOfTwo",
            Self::TwoKeys { .. } => "TwoKeys",
            Self::ForeignNonce { .. } => "ForeignNonce",
            Self::Unproved { .. } => "Unproved",
        }
    }
}

/// What was judged: a log in which nothing happened has no violation either.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) violations: Vec<Violation>,
    /// The key of each client.
    pub(crate) keys: HashMap<String, String>,
    /// The tokens that each client used.
    pub(crate) tokens: HashMap<String, HashSet<String>>,
    /// The clients on each connection.
    pub(crate) connections: HashMap<u64, HashSet<String>>,
    /// Proofs that held a nonce.
    pub(crate) with_nonce: usize,
    pub(crate) calls: usize,
    pub(crate) refused: usize,
}

impl Judgement {
    pub(crate) fn kinds(&self) -> HashSet<&'static str> {
        self.violations.iter().map(Violation::kind).collect()
    }
}

/// Judges the log of a run in which every client has one proof key.
pub(crate) fn judge(log: &[Recorded]) -> Judgement {
    let mut found = Judgement::default();
    let mut clients_of: HashMap<&str, &str> = HashMap::new();
    let mut given: HashSet<(&str, &str, &str)> = HashSet::new();
    for request in log {
        let api = request.endpoint() == Endpoint::Api;
        let caller = request.header(CALLER).unwrap_or_default();
        let client = match request.client_id() {
            Some(client) => client,
            None => {
                let caller = caller.to_owned();
                found.violations.push(Violation::UnknownToken { caller });
                continue;
            }
        };
        if api {
            found.calls += 1;
            found.refused += usize::from(request.status() == Some(401));
            if caller != client {
                found.violations.push(Violation::CallAsAnother {
                    caller: caller.to_owned(),
                    client: client.to_owned(),
                });
            }
            let token = request.header("authorization").unwrap_or_default();
            let tokens = found.tokens.entry(client.to_owned()).or_default();
            tokens.insert(token.to_owned());
        }
        let on_connection = found.connections.entry(request.connection()).or_default();
        on_connection.insert(client.to_owned());

        let Some((claims, jkt)) = request
            .claims()
            .and_then(|claims| Some((claims, claims.jkt.as_deref()?)))
        else {
            let client = client.to_owned();
            found.violations.push(Violation::Unproved { client });
            continue;
        };
        let first = *clients_of.entry(jkt).or_insert(client);
        if first != client {
            found.violations.push(Violation::KeyOfTwo {
                jkt: jkt.to_owned(),
                clients: [first.to_owned(), client.to_owned()],
            });
        }
        let key = found.keys.entry(client.to_owned()).or_insert_with(|| jkt.to_owned());
        if key != jkt {
            let client = client.to_owned();
            found.violations.push(Violation::TwoKeys { client });
        }
        // A nonce is sent after the answer that gave it, so its giver stands earlier in the log.
        if let Some(nonce) = claims.nonce.as_deref() {
            found.with_nonce += 1;
            if !given.contains(&(jkt, request.origin(), nonce)) {
                let client = client.to_owned();
                found.violations.push(Violation::ForeignNonce { client });
            }
        }
        if let Some(nonce) = request.nonce_given() {
            given.insert((jkt, request.origin(), nonce));
        }
    }
    found
}
