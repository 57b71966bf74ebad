//! Servers on loopback that write every octet down that reaches them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use shipbound::target::danger::Loopback;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request, as it stood on the wire.
#[derive(Clone)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }

    fn head(&self) -> &str {
        let end = head_end(&self.0).expect("a whole head");
        std::str::from_utf8(&self.0[..end]).expect("a head of ASCII")
    }

    pub(crate) fn method(&self) -> &str {
        self.head().split(' ').next().unwrap_or_default()
    }

    /// What stands between method and version: path and query.
    pub(crate) fn target(&self) -> &str {
        let line = self.head().split("\r\n").next().unwrap_or_default();
        let (_, rest) = line.split_once(' ').expect("a method");
        rest.strip_suffix(" HTTP/1.1").expect("a version")
    }

    pub(crate) fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// Names in lower case, with `-` for `_`, and values.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let lines = self.head().split("\r\n").skip(1);
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a field");
            (name.to_ascii_lowercase().replace('_', "-"), value.trim().to_owned())
        };
        lines.map(field).collect()
    }

    /// The values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let fields = self.fields().into_iter();
        fields
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value)
            .collect()
    }
}

type Answers = Arc<dyn Fn(&Request) -> String + Send + Sync>;

struct State {
    connections: usize,
    octets: Vec<u8>,
    requests: Vec<Request>,
    answers: Answers,
}

/// The server; it ends with its runtime.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Recorder {
    /// At this address, `127.0.0.1:0` for any port.
    pub(crate) async fn bind(at: &str) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            connections: 0,
            octets: Vec::new(),
            requests: Vec::new(),
            answers: Arc::new(|_| answer(200, &[], "{}")),
        }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    pub(crate) fn loopback(&self) -> Loopback {
        Loopback::exact(&self.address.to_string()).unwrap()
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers so from now on.
    pub(crate) fn answers(&self, answers: impl Fn(&Request) -> String + Send + Sync + 'static) {
        self.state.lock().unwrap().answers = Arc::new(answers);
    }

    /// How many requests have arrived.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }

    /// The requests after the first `number`.
    pub(crate) fn since(&self, number: usize) -> Vec<Request> {
        self.state.lock().unwrap().requests[number..].to_vec()
    }

    /// Whether nobody has ever connected.
    pub(crate) fn untouched(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.connections == 0 && state.octets.is_empty()
    }
}

/// An answer with a body of JSON.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

fn head_end(octets: &[u8]) -> Option<usize> {
    octets.windows(4).position(|four| four == b"\r\n\r\n")
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut unread = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        while let Some(length) = whole(&unread) {
            let request = Request(unread.drain(..length).collect());
            let answers = Arc::clone(&state.lock().unwrap().answers);
            let answer = answers(&request);
            state.lock().unwrap().requests.push(request);
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(count @ 1..) => {
                unread.extend_from_slice(&chunk[..count]);
                state.lock().unwrap().octets.extend_from_slice(&chunk[..count]);
            }
            _ => return,
        }
    }
}

/// How long the first request is; `None` while some of it is missing. Bodies of clients of this crate have a length.
fn whole(octets: &[u8]) -> Option<usize> {
    let end = head_end(octets)?;
    let head = std::str::from_utf8(&octets[..end])
        .expect("a head of ASCII")
        .to_ascii_lowercase();
    assert!(!head.contains("\r\ntransfer-encoding:"), "{head}");
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    let whole = end + 4 + length;
    (octets.len() >= whole).then_some(whole)
}
