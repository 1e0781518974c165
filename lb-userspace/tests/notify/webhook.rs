//! Webhooks to nginx in a namespace of its own, and to servers that fail or hang.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use lab::Lab;
use lb_userspace::notify::{Channel, Counts, Notifier};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream as AsyncStream};

use super::{PATIENCE, block_on, down, to_webhook, wait_for};

#[test]
fn nginx_gets_every_event_in_order() {
    let lab = Lab::builder().real_servers(0).build().unwrap();
    let (namespace, folder) = (lab.director(), lab.folder());
    let here = folder.display();
    // Bodies are logged only where they are read, that is, where the request is passed on.
    let configuration = format!(
        "daemon off; master_process off; pid {here}/nginx.pid;
events {{ }}
http {{
    log_format body escape=none '$request_method $uri $content_type $request_body';
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    access_log off;
    server {{
        listen [::1]:8080;
        location /hook {{ access_log {here}/hook.log body; proxy_pass http://[::1]:8080/taken; }}
        location /taken {{ return 204; }}
    }}
}}
"
    );
    let file = folder.join("nginx.conf").display().to_string();
    fs::write(&file, configuration).unwrap();
    let log = folder.join("error.log");
    let words = ["nginx", "-p", &here.to_string(), "-e", &log.display().to_string(), "-c", &file];
    let nginx = namespace.spawn(&words, &log).unwrap();
    wait_for("nginx listens", || {
        assert!(nginx.is_running(), "{}", fs::read_to_string(&log).unwrap_or_default());
        namespace.enter(|| TcpStream::connect("[::1]:8080").ok()).unwrap()
    });

    let events: Vec<_> = (0..50).map(down).collect();
    let counts = namespace.enter(|| {
        block_on(async {
            let notifications = to_webhook("http://[::1]:8080/hook".to_owned());
            let notifier = Notifier::new(&notifications, "lb1").unwrap();
            for event in &events {
                notifier.notify(event.clone());
            }
            assert!(notifier.flush(PATIENCE).await);
            notifier.counts(Channel::Webhook)
        })
    });
    assert_eq!(counts.unwrap(), Counts { sent: 50, failed: 0, dropped: 0 });
    let lines: Vec<String> = wait_for("nginx writes its log", || {
        let text = fs::read_to_string(folder.join("hook.log")).ok()?;
        (text.lines().count() == events.len()).then(|| text.lines().map(str::to_owned).collect())
    });
    for (line, event) in lines.iter().zip(&events) {
        let body = line.strip_prefix("POST /hook application/json ").unwrap();
        let (found, expected): (Value, Value) =
            (serde_json::from_str(body).unwrap(), serde_json::from_str(&event.json("lb1")).unwrap());
        assert_eq!(found, expected);
    }
}

/// Reads a request to the end of its body, which is an object.
async fn read_request(stream: &mut AsyncStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut block = [0; 1024];
        let length = stream.read(&mut block).await.unwrap();
        assert_ne!(length, 0);
        request.extend_from_slice(&block[..length]);
    }
}

/// A server that gives these answers, one per connection; it gives the number of connections it had when nobody has
/// come for ten seconds.
async fn answering(answers: &'static [&'static str]) -> (SocketAddr, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut connections = 0;
        loop {
            let accepted = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await;
            let Ok(Ok((mut stream, _))) = accepted else { return connections };
            read_request(&mut stream).await;
            let answer = answers[connections % answers.len()];
            stream.write_all(answer.as_bytes()).await.unwrap();
            connections += 1;
        }
    });
    (address, server)
}

async fn told(address: SocketAddr) -> Counts {
    let notifier = Notifier::new(&to_webhook(format!("http://{address}/")), "lb1").unwrap();
    notifier.notify(down(1));
    assert!(notifier.flush(PATIENCE).await);
    notifier.counts(Channel::Webhook)
}

#[test]
fn third_try_may_succeed() {
    block_on(async {
        const ANSWERS: &[&str] = &[
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "",
            "HTTP/1.0 200 OK\r\n\r\nthanks",
        ];
        let (address, server) = answering(ANSWERS).await;
        assert_eq!(told(address).await, Counts { sent: 1, failed: 0, dropped: 0 });
        assert_eq!(server.await.unwrap(), 3);
    });
}

#[test]
fn what_is_not_2xx_fails_after_three_tries() {
    block_on(async {
        const ANSWERS: &[&str] = &[
            "HTTP/1.1 302 Found\r\nlocation: http://192.0.2.9/\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "not HTTP\r\n\r\n",
        ];
        let (address, server) = answering(ANSWERS).await;
        assert_eq!(told(address).await, Counts { sent: 0, failed: 1, dropped: 0 });
        assert_eq!(server.await.unwrap(), 3);
    });
}

#[test]
fn an_endless_answer_takes_neither_time_nor_memory() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await.unwrap();
            let block = [b'x'; 65_536];
            // Ends when the other side closes.
            while stream.write_all(&block).await.is_ok() {}
        });
        assert_eq!(told(address).await, Counts { sent: 1, failed: 0, dropped: 0 });
        server.await.unwrap();
    });
}

#[test]
fn a_server_that_hangs_holds_up_no_other_and_is_given_up() {
    block_on(async {
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, _server) = answering(&["HTTP/1.1 204 No Content\r\n\r\n"]).await;
        let mut notifications = to_webhook(format!("http://{}/", hanging.local_addr().unwrap()));
        notifications.webhooks.push(format!("http://{address}/"));
        let notifier = Notifier::new(&notifications, "lb1").unwrap();
        notifier.notify(down(1));
        assert!(!notifier.flush(Duration::from_secs(1)).await);
        let counted = async {
            while notifier.counts(Channel::Webhook).sent == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.unwrap();
        assert!(notifier.flush(PATIENCE).await);
        assert_eq!(notifier.counts(Channel::Webhook), Counts { sent: 1, failed: 1, dropped: 0 });
    });
}
