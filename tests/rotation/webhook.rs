//! Alerts to an endpoint that fails, hangs, drips and goes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::Value;
use shipbound::chore::Chore;
use shipbound::clock::{Clock, ManualClock};
use shipbound::journal::memory::MemorySink;
use shipbound::journal::webhook::{Webhook, WebhookBuilder, WebhookSecret};
use shipbound::journal::{EventKind, KeyChange};
use shipbound::keys::Purpose;
use shipbound::owner::Owner;
use shipbound::rotation::{Selection, Why};
use shipbound::sandbox::{Canned, Sandbox};
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::transport::Transport;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::{Parts, upkeep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::world::{DAY, HOUR, World, act, connection, production, round, world};

const SECRET: &str = "whsec_c0VjUmVUbUFyS2VSLW9uZS1zZWNyZXQtMDAwMQ==";
const PREVIOUS: &str = "whsec_c0VjUmVUbUFyS2VSLW9uZS1zZWNyZXQtMDAwMA==";

/// What the endpoint does with a delivery.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(&'static str),
    Hangs,
    /// An octet of the head each time that the test lets it.
    Drips,
    Closes,
}

/// A delivery as it arrived.
#[derive(Clone, Debug)]
struct Delivery {
    head: String,
    body: String,
}

impl Delivery {
    fn header(&self, name: &str) -> &str {
        let line = |line: &str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        let found = self.head.lines().find(|found| line(found)).unwrap();
        found.split_once(':').unwrap().1.trim()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = format!(
            "{}.{}.{}",
            self.header("webhook-id"),
            self.header("webhook-timestamp"),
            self.body
        );
        let mac = hmac::Mac::chain_update(
            <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(&key).unwrap(),
            signed,
        );
        let wanted = format!("v1,{}", STANDARD.encode(hmac::Mac::finalize(mac).into_bytes()));
        self.header("webhook-signature").split(' ').any(|found| found == wanted)
    }
}

/// A server that does what the script says, and then answers 204.
struct Endpoint {
    address: String,
    script: Arc<Mutex<Vec<Does>>>,
    arrived: mpsc::UnboundedReceiver<Delivery>,
}

impl Endpoint {
    async fn new(script: impl IntoIterator<Item = Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script = Arc::new(Mutex::new(script.into_iter().collect::<Vec<_>>()));
        let (sender, arrived) = mpsc::unbounded_channel();
        let scripted = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&scripted), sender.clone()));
            }
        });
        Self {
            address,
            script,
            arrived,
        }
    }

    fn webhook(&self, clock: &Arc<ManualClock>, with: impl FnOnce(WebhookBuilder) -> WebhookBuilder) -> Webhook {
        let here = Loopback::exact(&self.address).unwrap();
        let target =
            Target::parse_allowing(&format!("http://{}/alerts", self.address), std::slice::from_ref(&here)).unwrap();
        let transport: Arc<dyn Transport> = Arc::new(ReqwestTransport::builder().allow_loopback(here).build().unwrap());
        let builder = Webhook::builder(target, WebhookSecret::parse(SECRET).unwrap());
        with(builder).build(transport, clock.clone())
    }

    async fn next(&mut self) -> Delivery {
        self.arrived.recv().await.unwrap()
    }

    fn has_nothing(&mut self) -> bool {
        self.arrived.try_recv().is_err()
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Vec<Does>>>, arrived: mpsc::UnboundedSender<Delivery>) {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            let mut more = [0; 4096];
            match stream.read(&mut more).await {
                Ok(count) if count > 0 => read.extend_from_slice(&more[..count]),
                _ => return,
            }
            continue;
        };
        let head = String::from_utf8(read[..end].to_vec()).unwrap();
        let of = |line: &str| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(|text| text.trim().parse::<usize>().unwrap())
        };
        let length = head.lines().find_map(of).unwrap();
        while read.len() < end + 4 + length {
            let mut more = [0; 4096];
            let count = stream.read(&mut more).await.unwrap();
            read.extend_from_slice(&more[..count]);
        }
        let body = String::from_utf8(read[end + 4..end + 4 + length].to_vec()).unwrap();
        read.drain(..end + 4 + length);
        let does = {
            let mut script = script.lock().unwrap();
            match script.is_empty() {
                true => Does::Answers("204 No Content"),
                false => script.remove(0),
            }
        };
        if arrived.send(Delivery { head, body }).is_err() {
            return;
        }
        match does {
            Does::Answers(status) => {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            Does::Closes => return,
            Does::Hangs => std::future::pending().await,
            Does::Drips => {
                for octet in b"HTTP/1.1 200 OK\r\nx-drip: "
                    .iter()
                    .chain(b"a".repeat(1_000_000).iter())
                {
                    if stream.write_all(&[*octet]).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// A world whose events go to `webhook` too, and a rotation there that is told of.
async fn compromise(world: &World, webhook: &Webhook, owner: &Owner) {
    let key = world.key(owner, Purpose::Proof).await;
    world.clock.advance(Duration::from_secs(1));
    let keys: Arc<dyn shipbound::keys::KeyStore> = Arc::new(world.keys());
    let parts = Parts::builder()
        .shared_keys(keys)
        .credentials(shipbound::credentials::MemoryCredentials::new())
        .sink(webhook.clone())
        .clock(world.shared_clock())
        .build()
        .unwrap();
    let rotator = shipbound::rotation::Rotator::builder(&parts, Arc::new(world.keys()))
        .build()
        .unwrap();
    let run = rotator.rotate(Selection::Key(key.id()), Why::Compromised, &act());
    assert_eq!(run.finish().await.rotated, 1);
}

async fn deliver(webhook: &Webhook) {
    webhook.round(&|| true).await;
}

#[tokio::test]
async fn an_alert_arrives_signed_and_says_what_happened_and_nothing_personal() {
    let world = world();
    let mut endpoint = Endpoint::new([]).await;
    let webhook = endpoint.webhook(&world.clock, |builder| {
        builder.previous_secret(WebhookSecret::parse(PREVIOUS).unwrap())
    });
    compromise(&world, &webhook, &production("acme")).await;
    assert_eq!(webhook.waiting(), 1, "that keys were made and promoted alarms nobody");
    deliver(&webhook).await;
    assert_eq!(webhook.waiting(), 0);
    let delivery = endpoint.next().await;
    assert!(delivery.head.starts_with("POST /alerts HTTP/1.1"));
    assert!(delivery.is_signed_with(SECRET) && delivery.is_signed_with(PREVIOUS));
    let now = world.clock.now().unix_seconds().to_string();
    assert_eq!(delivery.header("webhook-timestamp"), now);
    let json = delivery.json();
    assert_eq!(json["type"], "key.compromised");
    assert_eq!(json["timestamp"], world.clock.now().to_string());
    for (member, value) in [
        ("tenant", "acme"),
        ("environment", "production"),
        ("ticket", "SEC-12"),
        ("purpose", "proof"),
    ] {
        assert_eq!(json["data"][member], value);
    }
    for personal in ["maria", "laptop", "sEcReT"] {
        assert!(!delivery.body.contains(personal) && !delivery.head.contains(personal));
    }
    assert!(!format!("{webhook:?}").contains("sEcReT"));

    // The old secret has had its time.
    webhook.set_secrets(WebhookSecret::parse(SECRET).unwrap(), None);
    compromise(&world, &webhook, &production("bolt")).await;
    deliver(&webhook).await;
    let delivery = endpoint.next().await;
    assert!(delivery.is_signed_with(SECRET) && !delivery.is_signed_with(PREVIOUS));
}

#[tokio::test]
async fn what_fails_hangs_or_drips_is_delivered_again_with_the_same_id_and_later_each_time() {
    let world = world();
    let script = [
        Does::Answers("500 Internal Server Error"),
        Does::Hangs,
        Does::Closes,
        Does::Drips,
        Does::Answers("302 Found\r\nlocation: http://127.0.0.1:1/elsewhere"),
        Does::Answers("404 Not Found"),
        Does::Answers("429 Too Many Requests\r\nretry-after: 1200"),
    ];
    let mut endpoint = Endpoint::new(script).await;
    let webhook = endpoint.webhook(&world.clock, |builder| builder);
    compromise(&world, &webhook, &production("acme")).await;
    let mut ids = Vec::new();
    for (number, pause) in [5, 10, 20, 40, 80, 160, 1200].into_iter().enumerate() {
        {
            let mut delivering = Box::pin(deliver(&webhook));
            let delivery = tokio::select! {
                () = &mut delivering => endpoint.next().await,
                delivery = endpoint.next() => {
                    // Whatever does not answer has ten seconds.
                    if matches!(number, 1 | 3) {
                        for _ in 0..10 {
                            tokio::task::yield_now().await;
                        }
                        world.clock.advance(Duration::from_secs(10));
                    }
                    delivering.await;
                    delivery
                }
            };
            ids.push((delivery.header("webhook-id").to_owned(), delivery.body));
        }
        assert_eq!(webhook.waiting(), 1, "{number}");
        // A tenth sooner at most; no sooner than was asked for.
        let soonest = Duration::from_secs(pause) * if pause == 1200 { 10 } else { 9 } / 10 - Duration::from_millis(1);
        world.clock.advance(soonest);
        deliver(&webhook).await;
        assert!(endpoint.has_nothing(), "{number}");
        world.clock.advance(Duration::from_secs(pause) - soonest);
    }
    deliver(&webhook).await;
    let last = endpoint.next().await;
    ids.push((last.header("webhook-id").to_owned(), last.body.clone()));
    assert_eq!(webhook.waiting(), 0);
    ids.dedup();
    assert_eq!(ids.len(), 1, "one id and one body");
    assert!(endpoint.has_nothing());
}

#[tokio::test]
async fn gone_is_gone_until_somebody_resumes() {
    let world = world();
    let mut endpoint = Endpoint::new([Does::Answers("410 Gone")]).await;
    let elsewhere = Arc::new(MemorySink::default());
    let webhook = endpoint.webhook(&world.clock, |builder| builder.failures_to(elsewhere.clone()));
    for tenant in ["a", "b", "c"] {
        compromise(&world, &webhook, &production(tenant)).await;
    }
    deliver(&webhook).await;
    endpoint.next().await;
    assert!(webhook.is_gone());
    let told = elsewhere.events();
    assert!(matches!(told[0].kind, EventKind::AlertsUndelivered { code: "gone" }));
    compromise(&world, &webhook, &production("d")).await;
    world.clock.advance(DAY);
    deliver(&webhook).await;
    assert!(endpoint.has_nothing() && webhook.waiting() == 0);

    webhook.resume();
    compromise(&world, &webhook, &production("e")).await;
    deliver(&webhook).await;
    let delivery = endpoint.next().await;
    assert_eq!(
        (
            delivery.json()["dropped"].as_u64(),
            delivery.json()["data"]["tenant"].as_str()
        ),
        (Some(4), Some("e"))
    );
}

#[tokio::test]
async fn what_an_endpoint_refuses_goes_behind_the_others_and_is_given_up_aloud() {
    let world = world();
    let mut endpoint = Endpoint::new([Does::Answers("400 Bad Request")]).await;
    let elsewhere = Arc::new(MemorySink::default());
    let webhook = endpoint.webhook(&world.clock, |builder| builder.failures_to(elsewhere.clone()));
    for tenant in ["a", "b", "c"] {
        compromise(&world, &webhook, &production(tenant)).await;
    }
    deliver(&webhook).await;
    let mut tenants = Vec::new();
    for _ in 0..3 {
        tenants.push(endpoint.next().await.json()["data"]["tenant"].clone());
    }
    assert_eq!(tenants, ["a", "b", "c"], "nobody waits for the one that is refused");
    assert_eq!(webhook.waiting(), 1);

    // Again and again, with the same id, while others come and go.
    endpoint
        .script
        .lock()
        .unwrap()
        .extend(vec![Does::Answers("400 Bad Request"); 23]);
    let mut ids = Vec::new();
    for _ in 0..23 {
        assert!(elsewhere.events().is_empty());
        world.clock.advance(HOUR);
        deliver(&webhook).await;
        let delivery = endpoint.next().await;
        assert_eq!(delivery.json()["data"]["tenant"], "a");
        ids.push(delivery.header("webhook-id").to_owned());
    }
    ids.dedup();
    assert_eq!((ids.len(), webhook.waiting()), (1, 0));
    let told: Vec<_> = elsewhere.events().into_iter().map(|event| event.kind).collect();
    assert!(
        matches!(told[..], [EventKind::AlertsUndelivered { code: "refused" }]),
        "{told:?}"
    );
    compromise(&world, &webhook, &production("d")).await;
    deliver(&webhook).await;
    assert_eq!(endpoint.next().await.json()["dropped"].as_u64(), Some(1));
}

#[tokio::test]
async fn an_endpoint_that_refuses_everything_is_asked_little_at_once_and_no_more_waits_than_may() {
    let world = world();
    let mut endpoint = Endpoint::new(vec![Does::Answers("401 Unauthorized"); 1_000]).await;
    let webhook = endpoint.webhook(&world.clock, |builder| builder.capacity(20));
    for number in 0..20 {
        compromise(&world, &webhook, &production(&format!("t{number}"))).await;
    }
    deliver(&webhook).await;
    for _ in 0..16 {
        endpoint.next().await;
    }
    assert!(endpoint.has_nothing());
    assert_eq!(webhook.waiting(), 20);
    // Those that were refused make room.
    for number in 20..30 {
        compromise(&world, &webhook, &production(&format!("t{number}"))).await;
        assert_eq!(webhook.waiting(), 20);
    }
    endpoint.script.lock().unwrap().clear();
    deliver(&webhook).await;
    let first = endpoint.next().await.json();
    assert_eq!(
        (first["data"]["tenant"].as_str(), first["dropped"].as_u64()),
        (Some("t16"), Some(10))
    );
}

#[tokio::test]
async fn more_events_than_have_room_cost_routine_first_and_are_told_of() {
    let world = world();
    let mut endpoint = Endpoint::new([]).await;
    let promoted =
        |kind: &EventKind| matches!(kind, EventKind::Key(key) if matches!(key.change, KeyChange::Promoted { .. }));
    let webhook = endpoint.webhook(&world.clock, |builder| builder.capacity(5).also(promoted));
    for number in 0..20 {
        compromise(&world, &webhook, &production(&format!("t{number}"))).await;
        assert!(webhook.waiting() <= 5);
    }
    deliver(&webhook).await;
    let mut tenants = Vec::new();
    for number in 0..5 {
        let delivery = endpoint.next().await.json();
        assert_eq!(delivery["type"], "key.compromised");
        assert_eq!(delivery["dropped"].as_u64(), (number == 0).then_some(35));
        tenants.push(delivery["data"]["tenant"].as_str().unwrap().to_owned());
    }
    assert_eq!(tenants, ["t15", "t16", "t17", "t18", "t19"]);
}

/// Over TLS, by the upkeep, to a server whose certificate is checked.
#[tokio::test]
async fn the_upkeep_delivers_over_https() {
    let world = world();
    let sandbox = Sandbox::builder().clock(world.shared_clock()).start().await.unwrap();
    let bodies = Arc::new(Mutex::new(Vec::<Value>::new()));
    let seen = Arc::clone(&bodies);
    sandbox.open_route(Method::POST, "/alerts", move |request| {
        seen.lock().unwrap().push(request.json().unwrap());
        Canned::empty(204)
    });
    let target = Target::parse_allowing(&format!("{}/alerts", sandbox.api()), &sandbox.loopbacks()).unwrap();
    assert!(target.is_https());
    let transport: Arc<dyn Transport> = Arc::new(sandbox.transport().unwrap());
    let webhook =
        Webhook::builder(target, WebhookSecret::parse(SECRET).unwrap()).build(transport, world.shared_clock());
    let parts = world.parts(Arc::new(world.keys()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(
        upkeep::Upkeep::new(&parts)
            .chore(Arc::new(webhook.clone()))
            .run(async move {
                let _told = stopped.await;
            }),
    );
    compromise(
        &world,
        &webhook,
        &connection("acme", shipbound::owner::Environment::Sandbox).into(),
    )
    .await;
    while bodies.lock().unwrap().is_empty() {
        world.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    // What comes last is sent when the upkeep stops.
    compromise(&world, &webhook, &production("bolt")).await;
    drop(stop);
    running.await.unwrap();
    let tenants: Vec<_> = bodies
        .lock()
        .unwrap()
        .iter()
        .map(|body| body["data"]["tenant"].clone())
        .collect();
    assert_eq!(tenants, ["acme", "bolt"]);
    sandbox.shutdown().await;
    let rotator = world.rotator();
    round(&rotator).await;
}
