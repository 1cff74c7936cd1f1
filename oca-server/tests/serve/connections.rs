//! Connections: kept open, pipelined, refused, cut by their limits.

use crate::support::{Client, Server, content, get, request, tree};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

#[test]
fn keeps_connections_open_and_answers_pipelined_requests_in_order() {
    let root = tree();
    let server = Server::start(root.path(), &["--access-log", "off"]);
    let file = content(crate::support::SIZE);
    let mut client = Client::connect(server.http());
    let ask = |range: &str| format!("GET /f.mp4 HTTP/1.1\r\nHost: h\r\nRange: bytes={range}\r\n\r\n");
    client.send(
        &(ask("0-9") + &ask("1000000-1999999") + "HEAD /f.mp4 HTTP/1.1\r\nHost: h\r\n\r\n" + &ask("-5")),
    );
    assert!(client.response("GET").unwrap().body == file[..10]);
    assert!(client.response("GET").unwrap().body == file[1_000_000..2_000_000]);
    let head = client.response("HEAD").unwrap();
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("4194304"))
    );
    assert!(client.response("GET").unwrap().body == file[file.len() - 5..]);
    // A request in pieces, after a pause for the others.
    client.send("GET /small.mp4 HT");
    client.send("TP/1.1\r\nHost: h\r");
    client.send("\n\r\n");
    assert_eq!(client.response("GET").unwrap().body.len(), 100);
}

#[test]
fn connection_close_and_http10_end_the_connection() {
    let root = tree();
    let server = Server::start(root.path(), &["--access-log", "off"]);
    for (head, kept) in [
        (
            "GET /small.mp4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            false,
        ),
        ("GET /small.mp4 HTTP/1.0\r\n\r\n", false),
        ("GET /small.mp4 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        let mut client = Client::connect(server.http());
        client.send(head);
        let response = client.response("GET").unwrap();
        assert_eq!(response.body.len(), 100, "{head:?}");
        if kept {
            assert_eq!(response.field("connection"), Some("keep-alive"));
            client.send(head);
            assert_eq!(client.response("GET").unwrap().body.len(), 100);
        } else {
            assert_eq!(response.field("connection"), Some("close"));
            assert!(client.at_end(), "{head:?}");
        }
    }
}

#[test]
fn ambiguous_requests_get_400_and_the_end() {
    let root = tree();
    let server = Server::start(root.path(), &["--access-log", "off"]);
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            400,
        ),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400),
        (
            "GET /../secret HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            400,
        ),
        ("GET /%00 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
    ] {
        let mut client = Client::connect(server.http());
        client.send(request);
        assert_eq!(client.response("GET").unwrap().status, status, "{request:?}");
        assert!(client.at_end(), "{request:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let mut client = Client::connect(server.http());
    client.send(&long);
    assert_eq!(client.response("GET").unwrap().status, 431);
}

#[test]
fn request_content_is_thrown_away_up_to_a_bound() {
    let root = tree();
    let server = Server::start(root.path(), &["--access-log", "off"]);
    let mut client = Client::connect(server.http());
    // A body that looks like a request must not become one.
    let body = "GET /none HTTP/1.1\r\nHost: h\r\n\r\n";
    let ask = format!(
        "GET /small.mp4 HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(&ask);
    assert_eq!(client.response("GET").unwrap().status, 200);
    client.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        client.response("GET").unwrap().status,
        200,
        "the next request, not the content"
    );
    for lines in [
        "Content-Length: 1000000\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
    ] {
        let mut client = Client::connect(server.http());
        client.send(&format!("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        let response = client.response("GET").unwrap();
        let expected = if lines.contains("1000000") { 413 } else { 200 };
        assert_eq!(
            (response.status, response.field("connection")),
            (expected, Some("close")),
            "{lines:?}"
        );
    }
}

#[test]
fn head_and_options_and_what_players_need() {
    let root = tree();
    let server = Server::start(root.path(), &["--access-log", "off"]);
    let head = request(server.http(), "HEAD", "/f.mp4", "");
    let full = get(server.http(), "/f.mp4", "Origin: https://player.example\r\n");
    for name in [
        "content-length",
        "content-type",
        "etag",
        "last-modified",
        "accept-ranges",
    ] {
        assert_eq!(head.field(name), full.field(name), "{name}");
    }
    assert_eq!(full.field("access-control-allow-origin"), Some("*"));
    assert_eq!(full.field("timing-allow-origin"), Some("*"));
    for exposed in ["Content-Range", "ETag", "Date", "CMSD-Dynamic"] {
        assert!(
            full.field("access-control-expose-headers")
                .unwrap()
                .contains(exposed),
            "{exposed}"
        );
    }
    let preflight = "Origin: https://p.example\r\nAccess-Control-Request-Method: GET\r\n\
                     Access-Control-Request-Headers: range,cmcd-session\r\n";
    let options = request(server.http(), "OPTIONS", "/f.mp4", preflight);
    assert_eq!((options.status, options.field("content-length")), (204, None));
    assert_eq!(options.field("access-control-max-age"), Some("86400"));
    for allowed in [
        "Range",
        "CMCD-Request",
        "CMCD-Object",
        "CMCD-Status",
        "CMCD-Session",
    ] {
        assert!(
            options
                .field("access-control-allow-headers")
                .unwrap()
                .contains(allowed),
            "{allowed}"
        );
    }
    assert_eq!(request(server.http(), "OPTIONS", "*", "").status, 204);
    let post = request(server.http(), "POST", "/f.mp4", "Content-Length: 0\r\n");
    assert_eq!(
        (post.status, post.field("allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
}

#[test]
fn serves_no_directories_dotfiles_or_links_out_of_the_root() {
    let root = tree();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(root.path().join(".secret"), "x").unwrap();
    std::fs::write(root.path().join("index.html"), "x").unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("link.mp4")).unwrap();
    let server = Server::start(root.path(), &["--access-log", "off"]);
    for target in [
        "/",
        "/.secret",
        "/%2esecret",
        "/link.mp4",
        "/f.mp4/",
        "/f.mp4/x",
        "/none",
    ] {
        assert_eq!(get(server.http(), target, "").status, 404, "{target}");
    }
    for target in [
        "/f.mp4?token=1",
        "//f.mp4",
        "/x/../f.mp4",
        "http://other/f.mp4",
        "/%66.mp4",
    ] {
        assert_eq!(
            get(server.http(), target, "Range: bytes=0-0\r\n").status,
            206,
            "{target}"
        );
    }
}

#[test]
fn a_replaced_file_is_noticed() {
    let root = tree();
    let server = Server::start(root.path(), &["--access-log", "off", "--workers", "1"]);
    let before = get(server.http(), "/small.mp4", "");
    std::fs::write(root.path().join("new"), b"another film").unwrap();
    std::fs::rename(root.path().join("new"), root.path().join("small.mp4")).unwrap();
    crate::support::until("the new file is served", || {
        get(server.http(), "/small.mp4", "").body == b"another film"
    });
    let after = get(server.http(), "/small.mp4", "");
    assert_ne!(before.field("etag"), after.field("etag"));
}

#[test]
fn slow_header_is_cut() {
    let root = tree();
    let server = Server::start(
        root.path(),
        &["--access-log", "off", "--header-seconds", "1", ADMIN[0], ADMIN[1]],
    );
    let started = Instant::now();
    let mut drip = Client::connect(server.http());
    drip.send("GET /f.mp4 HTTP/1.1\r\nHost: h\r\n");
    let mut silent = Client::connect(server.http());
    let mut answered = false;
    for _ in 0..100 {
        // One header line now and then must not buy more time.
        if drip.stream.get_mut().write_all(b"X: y\r\n").is_err() {
            break;
        }
        drip.stream
            .get_mut()
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        if let Some(response) = drip.head() {
            assert_eq!(response.status, 408);
            answered = true;
            break;
        }
    }
    assert!(
        answered && started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert!(silent.at_end(), "a connection without a request ends too");
    crate::support::until("it is counted", || {
        server.metric("oca_connections_cut_total{reason=\"header_time\"}") >= 1.0
    });
}

#[test]
fn idle_connection_is_closed() {
    let root = tree();
    let server = Server::start(root.path(), &["--access-log", "off", "--idle-seconds", "1"]);
    let mut client = Client::connect(server.http());
    client.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response("GET").unwrap().status, 200);
    assert!(client.at_end());
}

#[test]
fn slow_reader_is_cut_and_a_steady_one_is_not() {
    let root = tree();
    crate::support::write(&root.path().join("big.mp4"), &content(64 << 20));
    let server = Server::start(root.path(), &["--slow-read-seconds", "2", ADMIN[0], ADMIN[1]]);
    let ask = b"GET /big.mp4 HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut stopped = TcpStream::connect(server.http()).unwrap();
    stopped.write_all(ask).unwrap();
    let mut steady = TcpStream::connect(server.http()).unwrap();
    steady.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    steady.write_all(ask).unwrap();
    let started = Instant::now();
    let mut taken = 0;
    let mut buffer = vec![0; 64 << 10]; // a fifth of the file at most before the last look
    while started.elapsed() < Duration::from_secs(6) {
        taken += steady.read(&mut buffer).unwrap();
        crate::support::pause();
    }
    assert!(taken > 1 << 20);
    let line = server.logged("slow_reader", |l| l["end"] == "slow_reader");
    assert!(line["bytes"].as_u64().unwrap() < 64 << 20);
    assert!(server.metric("oca_connections_cut_total{reason=\"slow_reader\"}") >= 1.0);
    let mut rest = Vec::new();
    let end = stopped.read_to_end(&mut rest);
    assert!(end.is_err(), "reset, not a clean end: {} bytes", rest.len());
    assert!(steady.read(&mut buffer).unwrap() > 0, "the steady reader goes on");
}

#[test]
fn connections_over_the_limit_get_429_at_once() {
    let root = tree();
    let server = Server::start(
        root.path(),
        &[
            "--access-log",
            "off",
            "--max-connections",
            "4",
            ADMIN[0],
            ADMIN[1],
        ],
    );
    let mut held: Vec<Client> = (0..4).map(|_| Client::connect(server.http())).collect();
    for client in &mut held {
        client.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.response("GET").unwrap().status, 200);
    }
    let shed = get(server.http(), "/small.mp4", "");
    assert_eq!((shed.status, shed.field("retry-after")), (429, Some("5")));
    assert_eq!(
        shed.field("access-control-allow-origin"),
        Some("*"),
        "players must see the status"
    );
    held[0].send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(held[0].response("GET").unwrap().status, 200, "old work goes on");
    held.clear();
    crate::support::until("there is room again", || {
        get(server.http(), "/small.mp4", "").status == 200
    });
    crate::support::until("it is counted", || {
        server.metric("oca_connections_shed_total") >= 1.0
    });
}

#[test]
fn two_hundred_connections_at_once_all_get_their_bytes() {
    let root = tree();
    let server = Server::start(root.path(), &["--access-log", "off"]);
    let file = content(crate::support::SIZE);
    let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(server.http())).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(&format!(
            "GET /f.mp4 HTTP/1.1\r\nHost: h\r\nRange: bytes={}-{}\r\n\r\n",
            i * 100,
            i * 100 + 300_000
        ));
    }
    for (i, client) in clients.iter_mut().enumerate() {
        assert!(
            client.response("GET").unwrap().body == file[i * 100..=i * 100 + 300_000],
            "{i}"
        );
    }
}

#[test]
fn a_client_that_drips_is_cut() {
    let root = tree();
    let server = Server::start(root.path(), &["--slow-read-seconds", "2"]);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap(); // else the kernel takes in its name
    socket.connect(&server.http().into()).unwrap();
    let mut drip = TcpStream::from(socket);
    drip.write_all(b"GET /f.mp4 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut buffer = [0; 256]; // with each look of `until`: some 10 KiB a second
    crate::support::until("it is cut", || {
        let gone = drip.read(&mut buffer).is_err();
        gone || server.log().iter().any(|l| l["end"] == "slow_reader")
    });
    server.logged("slow_reader", |l| l["end"] == "slow_reader");
}
