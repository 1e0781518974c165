//! Reloads under live connections. Needs root.

mod director;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use director::{Director, SOON, configuration, url};
use lab::Lab;

/// A connection of the client to the virtual address.
fn connect(lab: &Lab) -> TcpStream {
    let vip = SocketAddr::from((lab.vip4(), 80));
    let stream =
        lab.client().enter(|| TcpStream::connect_timeout(&vip, SOON)).expect("the client's namespace");
    let stream = stream.expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a bound for reading");
    stream
}

/// Reads an HTTP response; returns its status line and its body.
fn response(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((head.lines().next().unwrap_or_default().to_owned(), body))
}

fn get(stream: &mut TcpStream, path: &str) -> io::Result<Vec<u8>> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n").as_bytes())?;
    Ok(response(stream)?.1)
}

#[test]
fn a_reload_keeps_connections_and_a_wrong_one_changes_nothing() {
    let lab = Lab::builder().real_servers(3).build().expect("lab");
    let director = Director::start(&lab, &configuration(&lab, "", &[(1, 1)]));
    // The only real server is number 1, so the connection is its own. Half of an upload is sent before the reloads and
    // half after them: every byte goes through the director.
    let mut stream = connect(&lab);
    let content = lab.download();
    let (first, second) = content.split_at(content.len() / 2);
    let head = format!("PUT /upload/live HTTP/1.1\r\nHost: lab\r\nContent-Length: {}\r\n\r\n", content.len());
    stream.write_all(head.as_bytes()).expect("a request");
    stream.write_all(first).expect("half of the upload");
    let counters = |what: &str, server: usize, expected: (u32, u32)| {
        director.wait(what, |snapshot| {
            let counted = snapshot.services[0]
                .real_servers
                .iter()
                .find(|known| known.address.ip() == lab.rs(server).v4)
                .map(|known| (known.active, known.inactive));
            counted == Some(expected)
        })
    };
    counters("an active connection", 1, (1, 0));

    director.reload(&configuration(&lab, "", &[(1, 3), (2, 1), (3, 1)]));
    director.wait("three real servers", |snapshot| {
        snapshot.generation == 2 && snapshot.services[0].real_servers.len() == 3
    });
    director.reload(&configuration(&lab, "", &[(1, 0), (3, 1)]));
    let before = director.wait("two real servers", |snapshot| {
        snapshot.generation == 3 && snapshot.services[0].real_servers.len() == 2
    });
    assert_eq!(before.services[0].real_servers[0].active, 1, "the quiesced server keeps its connection");

    director.reload("[[service]]\naddress = \"nonsense\"\n");
    let started = Instant::now();
    while !director.log().contains("reload refused") {
        assert!(started.elapsed() < SOON, "the wrong file was not refused:\n{}", director.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = director.snapshot().expect("the daemon answers");
    assert_eq!((after.generation, &after.services[0].key), (3, &before.services[0].key));
    assert_eq!(after.services[0].real_servers.len(), 2);
    // New connections go on, to the server that is neither quiesced nor removed.
    for _ in 0..4 {
        let name = lab.client().fetch(&url(&lab, "/whoami")).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&name).trim(), lab.rs(3).name);
    }

    stream.write_all(second).expect("the other half of the upload");
    let (status, _) = response(&mut stream).expect("an answer to the upload");
    assert!(status.contains("201"), "{status}");
    assert!(lab.uploaded(lab.rs(1), "live").expect("the upload") == content, "the upload is damaged");
    let received = get(&mut stream, "/1MiB").expect("a download");
    assert!(received == content, "{} bytes arrived, not as they were sent", received.len());
    counters("the same connection", 1, (1, 0));
    drop(stream);
    counters("a closing connection", 1, (0, 1));
}

#[test]
fn a_removed_real_server_ends_its_own_connections_only() {
    let lab = Lab::builder().real_servers(2).build().expect("lab");
    let service = |servers: &[(usize, u32)]| {
        let mut text = configuration(&lab, "", servers)
            + &format!(
                "[[service]]\naddress = \"{}:5300\"\nprotocol = \"udp\"\nscheduler = \"rr\"\n",
                lab.vip4()
            );
        for (number, _) in servers {
            text += &format!("[[service.real_server]]\naddress = \"{}:5300\"\n", lab.rs(*number).v4);
        }
        text
    };
    let director = Director::start(&lab, &service(&[(1, 1), (2, 1)]));
    let mut streams: Vec<(String, TcpStream)> = (0..2)
        .map(|_| {
            let mut stream = connect(&lab);
            let name = get(&mut stream, "/whoami").expect("an answer");
            (String::from_utf8_lossy(&name).trim().to_owned(), stream)
        })
        .collect();
    streams.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!([&streams[0].0, &streams[1].0], ["rs1", "rs2"]);
    let vip = SocketAddr::from((lab.vip4(), 5300));
    let flows: Vec<UdpSocket> = (0..2)
        .map(|_| {
            let bound = lab.client().enter(|| UdpSocket::bind("0.0.0.0:0")).expect("the client's namespace");
            let socket = bound.expect("a socket");
            socket.connect(vip).expect("a connected socket");
            socket.set_read_timeout(Some(SOON)).expect("a bound for reading");
            socket
        })
        .collect();
    let ask = |socket: &UdpSocket| {
        socket.send(b"who").expect("a question");
        let mut answer = [0; 200];
        let length = socket.recv(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..length]).split(' ').next().unwrap_or_default().to_owned()
    };
    let mut names: Vec<String> = flows.iter().map(ask).collect();
    names.sort_unstable();
    assert_eq!(names, ["rs1", "rs2"]);

    director.reload(&service(&[(2, 1)]));
    director.wait("one real server", |snapshot| snapshot.services[0].real_servers.len() == 1);
    let ended = get(&mut streams[0].1, "/whoami").expect_err("the connection to the removed server ends");
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset, "{ended}");
    let goes_on = get(&mut streams[1].1, "/whoami").expect("the other connection goes on");
    assert_eq!(String::from_utf8_lossy(&goes_on).trim(), "rs2");
    assert_eq!(flows.iter().map(ask).collect::<Vec<_>>(), ["rs2", "rs2"], "a UDP flow gets another server");
}
