//! Checks against servers that mean no good.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check_support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use check_support::{get, http, probe, reason, run};
use lb_userspace::health::FailureReason;
use lb_userspace::model::{
    BodyDigest, CheckKind, CheckTls, DnsCheck, HttpCheck, HttpRequest, HttpVersion, Pattern, SmtpCheck,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// A server that does `answer` with each connection.
async fn server<F, A>(answer: F) -> SocketAddr
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

/// Reads the head of a request.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// A server that answers each request with the same bytes, and closes then.
async fn says(answer: &'static [u8]) -> SocketAddr {
    server(move |mut stream| async move {
        if head(&mut stream).await.is_some() {
            let _ = stream.write_all(answer).await;
        }
    })
    .await
}

fn kind(check: HttpCheck) -> CheckKind {
    CheckKind::Http(Box::new(check))
}

fn one(request: HttpRequest) -> CheckKind {
    kind(http(vec![request]))
}

fn pattern(expression: &str) -> Option<Pattern> {
    Some(Pattern { expression: expression.to_owned(), absent: false })
}

#[tokio::test]
async fn one_that_accepts_and_never_answers() {
    let closed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&closed);
    let address = server(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            seen.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let https = kind(HttpCheck { tls: Some(CheckTls::default()), ..http(vec![get("/")]) });
    let h2 = kind(HttpCheck { version: HttpVersion::H2, ..http(vec![get("/")]) });
    let smtp = CheckKind::Smtp(SmtpCheck { helo: None, tls: None });
    let all = [one(get("/")), https, h2, smtp];
    for (index, kind) in all.iter().enumerate() {
        let probe = probe(address);
        let run = lb_userspace::health::checker::run(kind, &probe);
        assert!(tokio::time::timeout(Duration::from_millis(300), run).await.is_err(), "{kind:?}");
        // The server sees the end of the connection as soon as the run is dropped.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while closed.load(Ordering::SeqCst) <= index {
            assert!(tokio::time::Instant::now() < deadline, "the connection is still open: {kind:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn one_byte_a_second() {
    let address = server(|mut stream| async move {
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let (kind, probe) = (one(get("/")), probe(address));
    let run = lb_userspace::health::checker::run(&kind, &probe);
    assert!(tokio::time::timeout(Duration::from_millis(1500), run).await.is_err());
}

#[tokio::test]
async fn garbage_and_early_ends() {
    for (answer, expected) in [
        (&b""[..], FailureReason::Closed),
        (b"SSH-2.0-OpenSSH_9.2\r\n", FailureReason::Protocol),
        (b"\0\xff\xfe\x01", FailureReason::Protocol),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", FailureReason::Protocol),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", FailureReason::Closed),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", FailureReason::Closed),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxx\r\nab\r\n", FailureReason::Protocol),
        (b"HTTP/1.1 200 OK\r\ncontent-len", FailureReason::Closed),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", FailureReason::Status),
    ] {
        let address = says(answer).await;
        let outcome = run(&one(get("/")), &probe(address)).await;
        assert_eq!(reason(outcome), expected, "{}", String::from_utf8_lossy(answer));
    }
    let address = says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let h2 = kind(HttpCheck { version: HttpVersion::H2, ..http(vec![get("/")]) });
    let found = reason(run(&h2, &probe(address)).await);
    assert!(matches!(found, FailureReason::Protocol | FailureReason::Closed), "{found:?}");
}

#[tokio::test]
async fn huge_heads() {
    let endless = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    assert_eq!(reason(run(&one(get("/")), &probe(endless)).await), FailureReason::TooLong);
    let many = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x: y\r\n").await.is_ok() {}
    })
    .await;
    assert_eq!(reason(run(&one(get("/")), &probe(many)).await), FailureReason::TooLong);
}

/// A server of bodies of 1 GiB, and the number of bytes that it got rid of.
async fn gigabyte(length_known: bool) -> (SocketAddr, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let address = server(move |mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            if head(&mut stream).await.is_none() {
                return;
            }
            let fields = if length_known { "content-length: 1073741824\r\n" } else { "" };
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()).await;
            let block = vec![b'x'; 64 << 10];
            while counter.load(Ordering::SeqCst) < 1 << 30 {
                match stream.write(&block).await {
                    Ok(length) => counter.fetch_add(length as u64, Ordering::SeqCst),
                    Err(_) => return,
                };
            }
        }
    })
    .await;
    (address, sent)
}

#[tokio::test]
async fn a_body_of_a_gigabyte() {
    for length_known in [true, false] {
        let (address, sent) = gigabyte(length_known).await;
        // Without interest in the body it is cut off, and the next request takes another connection.
        let passed = run(&kind(http(vec![get("/"), get("/")])), &probe(address)).await;
        assert!(passed.is_ok(), "{passed:?}");
        for request in [
            HttpRequest { pattern: pattern("y"), ..get("/") },
            HttpRequest { digest: Some(BodyDigest::Sha256([0; 32])), ..get("/") },
        ] {
            assert_eq!(reason(run(&one(request), &probe(address)).await), FailureReason::TooLong);
        }
        // A bound of 1 MiB and the buffers of four connections.
        let sent = sent.load(Ordering::SeqCst);
        assert!(sent < 128 << 20, "{sent} bytes were read");
    }
}

#[tokio::test]
async fn endless_redirections() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let address = server(move |mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            while head(&mut stream).await.is_some() {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let answer =
                    format!("HTTP/1.1 302 Found\r\nlocation: /{number}\r\ncontent-length: 3\r\n\r\nabc");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    })
    .await;
    let request = HttpRequest { max_redirects: 5, ..get("/") };
    assert_eq!(reason(run(&one(request), &probe(address)).await), FailureReason::Redirect);
    assert_eq!(requests.load(Ordering::SeqCst), 6);
    assert_eq!(reason(run(&one(get("/")), &probe(address)).await), FailureReason::Status);

    let away = says(b"HTTP/1.1 302 Found\r\nlocation: http://192.0.2.99/\r\n\r\n").await;
    let request = HttpRequest { max_redirects: 5, ..get("/") };
    assert_eq!(reason(run(&one(request), &probe(away)).await), FailureReason::Redirect);
}

#[tokio::test]
async fn one_that_closes_kept_connections() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let address = server(move |mut stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            let _ = head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            // The next request is read, and not answered.
            let _ = head(&mut stream).await;
        }
    })
    .await;
    let check = kind(http(vec![get("/1"), get("/2"), get("/3")]));
    let outcome = run(&check, &probe(address)).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn tls_where_there_is_none() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"", b"\x16\x03\x01\xff\xff\xff\xff\xff\xff"] {
        let address = server(move |mut stream| async move {
            let mut hello = [0; 16];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(answer).await;
        })
        .await;
        let check = HttpCheck { tls: Some(CheckTls::default()), ..http(vec![get("/")]) };
        assert_eq!(reason(run(&kind(check), &probe(address)).await), FailureReason::Tls);
    }
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(reason(run(&one(get("/")), &probe(address)).await), FailureReason::Refused);
}

/// A mail server that says one line for each line it hears, and closes after the last.
async fn mail_server(lines: &[&str]) -> SocketAddr {
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    server(move |stream| {
        let lines = lines.clone();
        async move {
            let mut stream = BufReader::new(stream);
            for (index, line) in lines.iter().enumerate() {
                if index > 0 {
                    let mut heard = String::new();
                    let _ = stream.read_line(&mut heard).await;
                }
                let _ = stream.write_all(line.as_bytes()).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn mail_servers() {
    let smtp = CheckKind::Smtp(SmtpCheck { helo: Some("director.example".to_owned()), tls: None });
    for lines in [
        &["220-hello\r\n220 there\r\n", "250-a\r\n250-b c\r\n250 d\r\n", "221 bye\r\n"][..],
        // HELO, bare line feeds, no answer to QUIT.
        &["220 old\n", "502 what\n", "250\n"],
    ] {
        let outcome = run(&smtp, &probe(mail_server(lines).await)).await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    let long = "2".repeat(5000);
    for (lines, expected) in [
        (&["554 no service\r\n"][..], FailureReason::Status),
        (&["220 hello\r\n", "421 full\r\n"][..], FailureReason::Status),
        (&["220 hello\r\n", "500 what\r\n", "550 no\r\n"][..], FailureReason::Status),
        (&["220 hello\r\n", ""][..], FailureReason::Closed),
        (&[""][..], FailureReason::Closed),
        (&["HTTP/1.1 200 OK\r\n\r\n"][..], FailureReason::Protocol),
        (&["999 hello\r\n"][..], FailureReason::Protocol),
        (&["220_hello\r\n"][..], FailureReason::Protocol),
        (&["\r\n"][..], FailureReason::Protocol),
        (&[long.as_str()][..], FailureReason::TooLong),
    ] {
        assert_eq!(reason(run(&smtp, &probe(mail_server(lines).await)).await), expected);
    }
    let endless =
        server(|mut stream| async move { while stream.write_all(b"220-x\r\n").await.is_ok() {} }).await;
    assert_eq!(reason(run(&smtp, &probe(endless)).await), FailureReason::TooLong);
    let injected = CheckKind::Smtp(SmtpCheck { helo: Some("a\r\nRSET".to_owned()), tls: None });
    assert_eq!(reason(run(&injected, &probe(endless)).await), FailureReason::Local);
}

/// A name server that answers each query with these messages; `ID` stands for the query's number.
async fn name_server(messages: Vec<Vec<u8>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query).await {
            for message in &messages {
                let mut bytes = message.clone();
                // The messages that begin with zeros are made to answer this query.
                if bytes.starts_with(&[0, 0]) {
                    bytes[..2].copy_from_slice(&query[..2]);
                }
                // Those of a header alone repeat the question.
                if bytes.len() == 12 {
                    bytes.extend_from_slice(&query[12..length]);
                }
                let _ = socket.send_to(&bytes, client).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn name_servers() {
    let check = DnsCheck { name: "www.example".to_owned(), record_type: "A".to_owned(), answer: None };
    let kind = CheckKind::Dns(check);
    // QR and RD; one question.
    let good = vec![0, 0, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
    let forged = vec![1, 2, 3];
    let query = vec![0, 0, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let outcome = run(&kind, &probe(name_server(vec![forged, query, good]).await)).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    // More records than there are, another question, an error without question.
    let lying = vec![0, 0, 0x81, 0x80, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(reason(run(&kind, &probe(name_server(vec![lying]).await)).await), FailureReason::Protocol);
    let other = vec![0, 0, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1];
    assert_eq!(reason(run(&kind, &probe(name_server(vec![other]).await)).await), FailureReason::Protocol);
    let error = vec![0, 0, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(reason(run(&kind, &probe(name_server(vec![error]).await)).await), FailureReason::Status);
    // Truncated, and nobody listens on TCP.
    let truncated = vec![0, 0, 0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(reason(run(&kind, &probe(name_server(vec![truncated]).await)).await), FailureReason::Refused);
}
