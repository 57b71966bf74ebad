//! The transport over plain sockets: what it sends, what it leaves alone, and what its errors say.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod transport_support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::StatusCode;
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Body, ReadError, Route, Stage, Transport, TransportError, TransportErrorKind};
use tokio::io::AsyncReadExt;
use transport_support::{Raw, allowing, exemption, failure, get, is, post, read_request, target, write};

/// Sends `outgoing`, has the server say `answer` and keep the connection open.
async fn answered(server: &Raw, answer: impl AsRef<[u8]>) -> (http::Response<Body>, String) {
    answered_by(&allowing(server.address).build().unwrap(), server, answer).await
}

async fn answered_by(
    transport: &ReqwestTransport,
    server: &Raw,
    answer: impl AsRef<[u8]>,
) -> (http::Response<Body>, String) {
    let outgoing = post(&target("http", server.address, "/ship?x=1"), "label");
    let serve = async {
        let mut stream = server.accept().await;
        let request = read_request(&mut stream).await;
        write(&mut stream, answer).await;
        (stream, request)
    };
    let route = Route::new();
    let (answer, (stream, request)) = tokio::join!(transport.send(outgoing, &route), serve);
    drop(stream);
    (answer.unwrap(), request)
}

#[tokio::test]
async fn nothing_is_added_but_what_is_documented() {
    let server = Raw::bind().await;
    let (answer, request) = answered(&server, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert!(answer.extensions().is_empty());
    assert_eq!(answer.into_body().read_to_limit(2).await.unwrap(), "no");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "label");
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /ship?x=1 HTTP/1.1"));
    let host = format!("host: {}", server.address);
    let agent = concat!("user-agent: shipbound/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        lines.collect::<BTreeSet<_>>(),
        BTreeSet::from(["accept: */*", "content-length: 5", &*host, agent])
    );
}

/// RFC 9110 8.6: servers may insist on it.
#[tokio::test]
async fn a_post_without_content_says_so_and_a_get_need_not() {
    for (empty, says) in [
        ("POST", true),
        ("PUT", true),
        ("PATCH", true),
        ("GET", false),
        ("DELETE", false),
    ] {
        let server = Raw::bind().await;
        let mut outgoing = post(&target("http", server.address, "/cancel"), "");
        outgoing.method = empty.parse().unwrap();
        let transport = allowing(server.address).build().unwrap();
        let serve = async {
            let mut stream = server.accept().await;
            let request = read_request(&mut stream).await;
            write(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
            (stream, request)
        };
        let route = Route::new();
        let (answer, (_stream, request)) = tokio::join!(transport.send(outgoing, &route), serve);
        assert_eq!(answer.unwrap().status(), StatusCode::NO_CONTENT);
        assert_eq!(request.contains("\r\ncontent-length: 0\r\n"), says, "{request}");
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    for status in [301, 302, 303, 307, 308] {
        let server = Raw::bind().await;
        let elsewhere = Raw::bind().await;
        let other = elsewhere.address;
        let followed = elsewhere.answer_all(200);
        let answer =
            format!("HTTP/1.1 {status} Elsewhere\r\nLocation: http://{other}/token\r\nContent-Length: 0\r\n\r\n");
        // Another authority that an exemption covers, so that nothing but the policy stands in the way.
        let transport = allowing(server.address)
            .allow_loopback(exemption(other))
            .build()
            .unwrap();
        let (answer, _) = answered_by(&transport, &server, answer).await;
        assert_eq!(answer.status().as_u16(), status);
        assert!(server.untouched());
        assert_eq!(followed.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn content_coding_is_left_alone() {
    // `gzip` of "ok\n".
    let packed: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0xcf, 0xe6, 2, 0, 0x47, 0xdd, 0xdc, 0x79, 3, 0, 0, 0,
    ];
    let server = Raw::bind().await;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        packed.len()
    );
    let (answer, request) = answered(&server, [head.as_bytes(), packed].concat()).await;
    assert!(!request.to_ascii_lowercase().contains("accept-encoding"));
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert_eq!(answer.into_body().read_to_limit(100).await.unwrap(), packed);
}

#[tokio::test]
async fn cookies_are_not_kept_and_connections_are() {
    let server = Raw::bind().await;
    let transport = allowing(server.address).build().unwrap();
    let target = target("http", server.address, "/");
    let route = Route::new();
    let first = async {
        let mut stream = server.accept().await;
        read_request(&mut stream).await;
        write(
            &mut stream,
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        stream
    };
    let (answer, mut stream) = tokio::join!(transport.send(get(&target), &route), first);
    answer.unwrap().into_body().read_to_limit(0).await.unwrap();
    let second = async {
        let request = read_request(&mut stream).await;
        write(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
        request
    };
    let (answer, request) = tokio::join!(transport.send(get(&target), &route), second);
    answer.unwrap();
    let request = request.to_ascii_lowercase();
    assert!(!request.contains("cookie") && !request.contains("referer"), "{request}");
    assert!(server.untouched());
}

#[tokio::test]
async fn a_fresh_route_uses_a_connection_once() {
    let server = Raw::bind().await;
    let transport = allowing(server.address).build().unwrap();
    let target = target("http", server.address, "/");
    let serve = async {
        let mut streams = Vec::new();
        for _ in 0..3 {
            let mut stream = server.accept().await;
            read_request(&mut stream).await;
            write(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
            streams.push(stream);
        }
        streams
    };
    let send = async {
        transport.send(get(&target), &Route::new()).await.unwrap();
        transport.send(get(&target), &Route::new().fresh()).await.unwrap();
        transport.send(get(&target), &Route::new().fresh()).await.unwrap();
    };
    let (mut streams, ()) = tokio::join!(serve, send);
    // The ordinary request takes the first connection up again.
    let route = Route::new();
    let serve = async {
        read_request(&mut streams[0]).await;
        write(&mut streams[0], "HTTP/1.1 204 No Content\r\n\r\n").await;
    };
    let (answer, ()) = tokio::join!(transport.send(get(&target), &route), serve);
    answer.unwrap();
    assert!(server.untouched());
    // The other two were closed after their one request.
    for stream in &mut streams[1..] {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_refused_port_is_not_sent() {
    let address = Raw::bind().await.address;
    let transport = allowing(address).build().unwrap();
    let result = transport
        .send(post(&target("http", address, "/"), "label"), &Route::new())
        .await;
    assert_eq!(failure(result), is("Connect", "NotSent"));
}

#[tokio::test]
async fn a_connection_cut_after_the_request_may_have_sent_it() {
    let cut: [&[u8]; 2] = [b"", b"HTTP/1.1 200 OK\r\nContent-Le"];
    for said in cut {
        let server = Raw::bind().await;
        let transport = allowing(server.address).build().unwrap();
        let serve = async {
            let mut stream = server.accept().await;
            read_request(&mut stream).await;
            write(&mut stream, said).await;
        };
        let route = Route::new();
        let outgoing = post(&target("http", server.address, "/"), "label");
        let (result, ()) = tokio::join!(transport.send(outgoing, &route), serve);
        assert_eq!(failure(result), is("ConnectionLost", "MaybeSent"));
        assert!(server.untouched(), "the request was sent again");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_protocol_error() {
    for said in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    ] {
        let server = Raw::bind().await;
        let transport = allowing(server.address).build().unwrap();
        let serve = async {
            let mut stream = server.accept().await;
            read_request(&mut stream).await;
            write(&mut stream, said).await;
            stream
        };
        let route = Route::new();
        let outgoing = post(&target("http", server.address, "/"), "label");
        let (result, _stream) = tokio::join!(transport.send(outgoing, &route), serve);
        assert_eq!(failure(result), is("Protocol", "MaybeSent"), "{said:?}");
        assert!(server.untouched());
    }
}

#[tokio::test]
async fn a_deadline_ends_an_attempt_that_gets_no_answer() {
    let server = Raw::bind().await;
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let transport = allowing(server.address)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build()
        .unwrap();
    let serve = async {
        let mut stream = server.accept().await;
        read_request(&mut stream).await;
        clock.advance(Duration::from_secs(30));
        stream
    };
    let route = Route::new().deadline(Duration::from_secs(30));
    let outgoing = post(&target("http", server.address, "/"), "label");
    let (result, mut stream) = tokio::join!(transport.send(outgoing, &route), serve);
    assert_eq!(failure(result), is("Timeout", "MaybeSent"));
    // The attempt is given up, not left running.
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_deadline_does_not_count_the_body() {
    let server = Raw::bind().await;
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let transport = allowing(server.address)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build()
        .unwrap();
    let serve = async {
        let mut stream = server.accept().await;
        read_request(&mut stream).await;
        write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
        stream
    };
    let route = Route::new().deadline(Duration::from_secs(30));
    let outgoing = get(&target("http", server.address, "/"));
    let (result, mut stream) = tokio::join!(transport.send(outgoing, &route), serve);
    clock.advance(Duration::from_secs(3_600));
    write(&mut stream, "k").await;
    assert_eq!(result.unwrap().into_body().read_to_limit(2).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_body_is_read_to_its_limit_and_no_further() {
    let whole = |length: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n{body}");
    let chunked = "Transfer-Encoding: chunked";
    let read = |answer: String, limit| async move {
        let server = Raw::bind().await;
        let (answer, _) = answered(&server, answer).await;
        answer.into_body().read_to_limit(limit).await
    };
    let too_large = |limit| Err(ReadError::TooLarge { limit });
    assert_eq!(
        read(whole("Content-Length: 4", "abcd"), 4).await,
        Ok(Bytes::from("abcd"))
    );
    assert_eq!(read(whole("Content-Length: 4", "abcd"), 3).await, too_large(3));
    // Announced and never sent: refused without waiting for it.
    assert_eq!(
        read(whole("Content-Length: 999999999999", ""), 1_000).await,
        too_large(1_000)
    );
    assert_eq!(
        read(whole(chunked, "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"), 4).await,
        Ok(Bytes::from("abcd"))
    );
    assert_eq!(
        read(whole(chunked, "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"), 3).await,
        too_large(3)
    );
    assert_eq!(read(whole(chunked, "4\r\nabcd\r\n0\r\n\r\n"), 3).await, too_large(3));
    assert_eq!(read(whole(chunked, "0\r\n\r\n"), 0).await, Ok(Bytes::new()));
    assert_eq!(
        read(whole(chunked, "2\r\nab\r\n0\r\nTrailer: x\r\n\r\n"), 2).await,
        Ok(Bytes::from("ab"))
    );
    // Cut short.
    let lost = Err(ReadError::Transport(TransportError::new(
        TransportErrorKind::ConnectionLost,
        Stage::Answered,
    )));
    assert_eq!(read(whole("Content-Length: 4", "abc"), 4).await, lost);
    assert_eq!(read(whole(chunked, "2\r\nab\r\n"), 4).await, lost);
}

#[tokio::test]
async fn a_body_that_drips_can_be_given_up() {
    let server = Raw::bind().await;
    let transport = allowing(server.address).build().unwrap();
    let serve = async {
        let mut stream = server.accept().await;
        read_request(&mut stream).await;
        write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nd").await;
        stream
    };
    let route = Route::new();
    let outgoing = get(&target("http", server.address, "/"));
    let (answer, mut stream) = tokio::join!(transport.send(outgoing, &route), serve);
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let deadline = clock.sleep_until(clock.monotonic() + Duration::from_secs(10));
    let mut reading = Box::pin(answer.unwrap().into_body().read_to_limit(100));
    for _ in 0..9 {
        assert!((&mut reading).now_or_never().is_none());
        write(&mut stream, "r").await;
        clock.advance(Duration::from_secs(1));
    }
    clock.advance(Duration::from_secs(1));
    let first = futures_util::future::select(reading, deadline).await;
    assert!(matches!(first, futures_util::future::Either::Right(_)));
    drop(first);
    let mut rest = [0; 1];
    assert!(matches!(stream.read(&mut rest).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_body_of_one_frame_is_not_copied() {
    let bytes = Bytes::from(vec![7; 1_000]);
    let read = Body::from(bytes.clone()).read_to_limit(1_000).await.unwrap();
    assert_eq!(read.as_ptr(), bytes.as_ptr());
    assert_eq!(
        Body::from(bytes).read_to_limit(999).await,
        Err(ReadError::TooLarge { limit: 999 })
    );
    assert_eq!(Body::empty().read_to_limit(0).await, Ok(Bytes::new()));
}

#[tokio::test]
async fn a_hanging_connect_ends() {
    // With the queue of a listener full, the kernel answers no further SYN.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let queue: Vec<_> = (0..8)
        .map(|_| {
            let mut connecting = Box::pin(tokio::net::TcpStream::connect(address));
            let done = (&mut connecting).now_or_never();
            (connecting, done)
        })
        .collect();
    let transport = allowing(address)
        .connect_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let result = transport
        .send(post(&target("http", address, "/"), "label"), &Route::new())
        .await;
    assert_eq!(failure(result), is("Timeout", "NotSent"));
    drop(queue);
}

#[tokio::test]
async fn a_hanging_handshake_ends() {
    let server = Raw::bind().await;
    let transport = allowing(server.address)
        .connect_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let result = transport
        .send(post(&target("https", server.address, "/"), "label"), &Route::new())
        .await;
    assert_eq!(failure(result), is("Timeout", "NotSent"));
}
