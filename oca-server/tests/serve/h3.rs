//! HTTP/3, asked by quinn and h3.

use crate::{
    h3_client::{Viewer, run, start, whole},
    support::{SIZE, content, tree, until, write},
};
use bytes::Buf;
use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use std::{
    fs::File,
    net::UdpSocket,
    time::{Duration, Instant},
};

const BIG: usize = 64 << 20;
const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

#[test]
fn http3_paces_and_tells_as_the_other_protocols_do() {
    let root = tree();
    let (server, _certs) = start(root.path(), &ADMIN);
    let status = format!("rtp={}", SIZE * 4 / 1000); // two seconds for all of it
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let fields = [("cmcd-status", status.as_str()), ("cmcd-session", "sid=\"h-3\"")];
        let mut times = Vec::new();
        for buffer in ["bl=30000,su", "bl=30000"] {
            let started = Instant::now();
            let fields = [&fields[..], &[("cmcd-request", buffer)]].concat();
            let response = viewer.get("/f.mp4", &fields).await;
            assert!(response.body == content(SIZE));
            let told = response.field("cmsd-dynamic").unwrap();
            assert!(told.contains(";rtt=") && !told.contains("etp"), "{told}");
            times.push(started.elapsed());
        }
        assert!(
            times[1] >= Duration::from_millis(1700) && times[0] < times[1],
            "{times:?}"
        );
        assert_eq!(viewer.get("/f.mp4", &[]).await.field("cmsd-dynamic"), None);
        viewer.close().await;
    });
    let line = server.logged("the request", |l| l["sid"] == "h-3");
    assert!(line["rtt"].as_f64().unwrap() > 0.0, "{line}");
    assert!(line["retransmitted"].is_u64(), "{line}");
}

#[test]
fn http3_gives_the_answers_of_the_other_protocols() {
    let root = tree();
    let (server, _certs) = start(root.path(), &ADMIN);
    let file = content(SIZE);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let all = viewer.get("/f.mp4", &[("user-agent", "tester")]).await;
        assert_eq!((all.status, all.body == file), (200, true));
        assert_eq!(all.field("content-type"), Some("video/mp4"));
        assert_eq!(all.field("server"), Some("nightfill"));
        assert_eq!(all.field("accept-ranges"), Some("bytes"));
        assert_eq!(all.field("content-length"), Some(SIZE.to_string().as_str()));
        let tag = all.field("etag").unwrap().to_owned();
        assert_eq!(viewer.get("/f.mp4", &[("if-none-match", &tag)]).await.status, 304);
        let part = viewer.get("/f.mp4", &[("range", "bytes=1000000-1999999")]).await;
        assert_eq!((part.status, &part.body[..]), (206, &file[1_000_000..2_000_000]));
        assert_eq!(part.field("content-range"), Some("bytes 1000000-1999999/4194304"));
        let many = viewer.get("/f.mp4", &[("range", "bytes=0-9,70000-200000")]).await;
        assert_eq!(many.status, 206);
        assert_eq!(
            many.field("content-length"),
            Some(many.body.len().to_string().as_str())
        );
        assert!(many.body.windows(130_001).any(|w| w == &file[70_000..=200_000]));
        let head = viewer.request("HEAD", "/f.mp4", &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.field("content-length"), Some(SIZE.to_string().as_str()));
        for (method, path, status) in [
            ("GET", "/none", 404),
            ("GET", "/../x", 400),
            ("GET", "/empty.mp4", 200),
            ("DELETE", "/f.mp4", 405),
            ("OPTIONS", "/f.mp4", 204),
        ] {
            assert_eq!(
                viewer.request(method, path, &[]).await.status,
                status,
                "{method} {path}"
            );
        }
        let beyond = viewer.get("/f.mp4", &[("range", "bytes=9999999-")]).await;
        assert_eq!(
            (beyond.status, beyond.field("content-range")),
            (416, Some("bytes */4194304"))
        );
        viewer.close().await;
    });
    let line = server.logged("a whole download over HTTP/3", |l| l["user_agent"] == "tester");
    assert_eq!(
        (&line["protocol"], &line["tls"]),
        (&"HTTP/3".into(), &"TLSv1.3".into())
    );
    assert_eq!((&line["bytes"], &line["end"]), (&SIZE.into(), &"complete".into()));
    assert_eq!(line["host"], "localhost");
    until("they are counted", || {
        server.metric("oca_requests_total{protocol=\"HTTP/3\",status=\"206\"}") == 2.0
            && server.metric("oca_connections") == 0.0
    });
    assert_eq!(
        server.metric("oca_connections_accepted_total{listener=\"quic\"}"),
        1.0
    );
    assert_eq!(server.metric("oca_tls_handshakes_total{outcome=\"quic\"}"), 1.0);
}

#[test]
fn what_is_on_the_drive_comes_whole_over_http3() {
    let root = tree();
    let big = content(BIG);
    let path = root.path().join("big.mp4");
    write(&path, &big);
    let (server, _certs) = start(root.path(), &["--workers", "1"]);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        for range in ["bytes=0-", "bytes=1000001-30000000", "bytes=5-9,777777-9999999"] {
            let file = File::open(&path).unwrap();
            file.sync_all().unwrap();
            let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            nix::fcntl::posix_fadvise(&file, 0, 0, advice).unwrap();
            let response = viewer.get("/big.mp4", &[("range", range)]).await;
            assert_eq!(response.status, 206);
            let (body, length) = (&response.body, response.field("content-length").unwrap());
            assert_eq!(length, body.len().to_string());
            match range {
                "bytes=0-" => assert!(*body == big),
                "bytes=1000001-30000000" => assert!(body[..] == big[1_000_001..=30_000_000]),
                _ => {
                    let start = body
                        .windows(64)
                        .position(|w| w == &big[777_777..777_841])
                        .unwrap();
                    assert!(body[start..start + 9_222_223] == big[777_777..=9_999_999]);
                }
            }
        }
    });
}

#[test]
fn one_http3_connection_carries_many_streams() {
    let root = tree();
    let (server, _certs) = start(root.path(), &["--workers", "1"]);
    let file = content(SIZE);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let mut all = Vec::new();
        for i in 0..40 {
            let urgency = format!("u={}{}", i % 8, if i % 3 == 0 { ", i" } else { "" });
            all.push(viewer.send("GET", "/f.mp4", &[("priority", &urgency)]).await);
        }
        let reading = all.into_iter().map(|mut streams| {
            tokio::spawn(async move { whole(&mut streams).await.map(|response| response.body) })
        });
        for (i, task) in reading.collect::<Vec<_>>().into_iter().enumerate() {
            assert!(task.await.unwrap().unwrap() == file, "{i}");
        }
    });
}

#[test]
fn a_large_object_comes_whole_with_either_congestion_control() {
    let root = tree();
    let big = content(BIG);
    write(&root.path().join("big.mp4"), &big);
    for congestion in ["cubic", "bbr"] {
        let (server, _certs) = start(root.path(), &["--quic-congestion", congestion]);
        run(async {
            let mut viewer = Viewer::connect(server.quic()).await;
            let all = viewer.get("/big.mp4", &[]).await;
            assert!(blake3::hash(&all.body) == blake3::hash(&big), "{congestion}");
        });
    }
}

#[test]
fn alt_svc_tells_of_http3_on_encrypted_tcp_alone() {
    let root = tree();
    let (server, certs) = start(root.path(), &["--tls-listen", "127.0.0.1:0"]);
    let expected = format!("h3=\":{}\"; ma=86400", server.quic().port());
    for version in ["--http1.1", "--http2"] {
        let out = std::process::Command::new("curl")
            .args(["-sSI", version, "--cacert"])
            .arg(certs.path().join("cert.pem"))
            .arg(format!("https://{}/small.mp4", server.tls()))
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap().to_ascii_lowercase();
        assert!(text.contains(&format!("alt-svc: {expected}")), "{text}");
    }
    let plain = crate::support::get(server.http(), "/small.mp4", "");
    assert_eq!(plain.field("alt-svc"), None);
}

#[test]
fn a_client_whose_port_changes_goes_on_on_its_worker() {
    let root = tree();
    let big = content(BIG);
    write(&root.path().join("big.mp4"), &big);
    let (server, _certs) = start(root.path(), &["--workers", "2"]);
    run(async {
        // The kernel would send half of the new addresses to the other worker.
        for _ in 0..6 {
            let mut viewer = Viewer::connect(server.quic()).await;
            let mut streams = viewer.send("GET", "/big.mp4", &[]).await;
            assert_eq!(streams.recv_response().await.unwrap().status(), 200);
            let mut body = Vec::new();
            let mut moves = 0;
            while let Some(mut piece) = streams.recv_data().await.unwrap() {
                use bytes::Buf;
                while piece.has_remaining() {
                    body.extend_from_slice(piece.chunk());
                    piece.advance(piece.chunk().len());
                }
                if body.len() > (moves + 1) * (BIG / 4) && moves < 3 {
                    moves += 1;
                    viewer
                        .endpoint
                        .rebind(UdpSocket::bind("127.0.0.1:0").unwrap())
                        .unwrap();
                }
            }
            assert_eq!(moves, 3);
            assert!(body == big);
        }
    });
}

#[test]
fn a_given_up_stream_leaves_the_others_alone() {
    let root = tree();
    let big = content(BIG);
    write(&root.path().join("big.mp4"), &big);
    let (server, _certs) = start(root.path(), &[]);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let mut given_up = viewer.send("GET", "/big.mp4", &[("user-agent", "fickle")]).await;
        let mut other = viewer.send("GET", "/f.mp4", &[]).await;
        assert_eq!(given_up.recv_response().await.unwrap().status(), 200);
        given_up.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
        drop(given_up);
        assert!(whole(&mut other).await.unwrap().body == content(SIZE));
        assert!(viewer.get("/big.mp4", &[]).await.body == big);
    });
    let line = server.logged("the given-up one", |l| l["user_agent"] == "fickle");
    assert_eq!(line["end"], "cut");
}

#[test]
fn truncated_file_resets_the_http3_stream() {
    cut_short(0);
}

/// Bytes that are sent from where they lie in memory: what the client gets is the file's, to the last byte before the reset.
#[test]
fn a_file_cut_while_it_is_lent_resets_the_http3_stream() {
    cut_short(3);
}

/// Cuts a file during a download that follows `before` whole ones.
fn cut_short(before: usize) {
    let root = tree();
    let big = root.path().join("big.mp4");
    let all = content(BIG);
    write(&big, &all);
    let (server, _certs) = start(root.path(), &ADMIN);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        for _ in 0..before {
            assert!(viewer.get("/big.mp4", &[]).await.body == all);
        }
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
        let kind = statfs(&big).unwrap().filesystem_type();
        if kind == EXT4_SUPER_MAGIC || kind == TMPFS_MAGIC {
            assert_eq!(maps.contains("big.mp4"), before > 2, "whether it is lent");
        }
        let mut streams = viewer.send("GET", "/big.mp4", &[]).await;
        assert_eq!(streams.recv_response().await.unwrap().status(), 200);
        // Flow control has stopped the rest: the client reads no further until the file is short.
        File::options()
            .write(true)
            .open(&big)
            .unwrap()
            .set_len(1000)
            .unwrap();
        let mut got = 0;
        let error = loop {
            match streams.recv_data().await {
                Ok(Some(mut piece)) => {
                    let piece = piece.copy_to_bytes(piece.remaining());
                    assert!(piece == all[got..got + piece.len()], "near {got}");
                    got += piece.len();
                }
                Ok(None) => panic!("a clean end after {got} bytes"),
                Err(error) => break error,
            }
        };
        assert!(got < BIG);
        assert!(error.to_string().contains("H3_INTERNAL_ERROR"), "{error}");
        assert_eq!(
            viewer.get("/small.mp4", &[]).await.status,
            200,
            "the connection is well"
        );
    });
    server.logged("fault", |l| l["end"] == "fault");
    until("it is counted", || {
        server.metric("oca_body_faults_total{cause=\"short\"}") >= 1.0
    });
}

#[test]
fn sigterm_finishes_running_http3_downloads() {
    let root = tree();
    let big = content(BIG);
    write(&root.path().join("big.mp4"), &big);
    let (mut server, _certs) = start(root.path(), &[]);
    run(async {
        let mut idle = Viewer::connect(server.quic()).await;
        assert_eq!(idle.get("/small.mp4", &[]).await.status, 200);
        let mut viewer = Viewer::connect(server.quic()).await;
        let mut streams = viewer.send("GET", "/big.mp4", &[]).await;
        assert_eq!(streams.recv_response().await.unwrap().status(), 200);
        server.signal();
        let end = idle.end.await.unwrap();
        assert!(end.is_h3_no_error(), "{end}");
        let mut body = Vec::new();
        while let Some(mut piece) = streams.recv_data().await.unwrap() {
            use bytes::Buf;
            while piece.has_remaining() {
                body.extend_from_slice(piece.chunk());
                piece.advance(piece.chunk().len());
            }
        }
        assert!(body == big, "{} bytes", body.len());
        let end = viewer.end.await.unwrap();
        assert!(end.is_h3_no_error(), "{end}");
    });
    assert_eq!(server.wait().code(), Some(0));
    assert!(
        server
            .log()
            .iter()
            .any(|l| l["path"] == "/big.mp4" && l["end"] == "complete")
    );
}

#[test]
fn what_runs_too_long_over_http3_is_reset() {
    let root = tree();
    write(&root.path().join("big.mp4"), &content(BIG));
    let (mut server, _certs) = start(root.path(), &["--drain-seconds", "1"]);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let mut streams = viewer.send("GET", "/big.mp4", &[]).await;
        assert_eq!(streams.recv_response().await.unwrap().status(), 200);
        server.signal();
        let end = viewer.end.await.unwrap();
        assert!(!end.is_h3_no_error(), "{end}");
        let rest = async {
            while streams.recv_data().await?.is_some() {}
            Ok::<_, h3::error::StreamError>(())
        };
        assert!(rest.await.is_err(), "reset, not a clean end");
    });
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.log().iter().any(|l| l["end"] == "cut"));
}

#[test]
fn a_slow_http3_reader_is_cut() {
    let root = tree();
    write(&root.path().join("big.mp4"), &content(BIG));
    let (server, _certs) = start(root.path(), &["--slow-read-seconds", "1"]);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let mut streams = viewer.send("GET", "/big.mp4", &[("user-agent", "slow")]).await;
        assert_eq!(streams.recv_response().await.unwrap().status(), 200);
        let end = viewer.end.await.unwrap();
        assert!(!end.is_h3_no_error(), "{end}");
    });
    let line = server.logged("the slow one", |l| l["user_agent"] == "slow");
    assert_eq!(line["end"], "slow_reader");
}

#[test]
fn an_idle_http3_connection_is_ended_properly() {
    let root = tree();
    let (server, _certs) = start(root.path(), &["--idle-seconds", "1"]);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        assert_eq!(viewer.get("/small.mp4", &[]).await.status, 200);
        let end = viewer.end.await.unwrap();
        assert!(end.is_h3_no_error(), "{end}");
    });
}

#[test]
fn connections_over_the_limit_are_refused_over_quic() {
    let root = tree();
    let (server, _certs) = start(root.path(), &["--max-connections", "1", ADMIN[0], ADMIN[1]]);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let second = Viewer::connect_with(server.quic(), quinn::TransportConfig::default()).await;
        assert!(matches!(second, Err(quinn::ConnectionError::ConnectionClosed(_))));
        assert_eq!(viewer.get("/small.mp4", &[]).await.status, 200, "old ones go on");
    });
    until("it is counted", || {
        server.metric("oca_connections_shed_total") >= 1.0
    });
}

#[test]
fn under_load_clients_prove_their_address() {
    let root = tree();
    let (server, _certs) = start(root.path(), &["--unproven-handshakes", "0", ADMIN[0], ADMIN[1]]);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        assert!(viewer.get("/f.mp4", &[]).await.body == content(SIZE));
    });
    until("it is counted", || server.metric("oca_quic_retries_total") == 1.0);
}

#[test]
fn request_heads_over_http3_are_limited_in_size_and_time() {
    let root = tree();
    let (server, _certs) = start(root.path(), &["--header-seconds", "1"]);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        // The settings tell the limit; a client that heeds it not at all is one without h3.
        let (mut send, mut recv) = viewer.quic.open_bi().await.unwrap();
        send.write_all(&[1, 0x80, 1, 0, 0]).await.unwrap(); // HEADERS of 64 KiB
        send.write_all(&[0; 1000]).await.unwrap();
        let answer = recv.read_to_end(10_000).await.unwrap();
        assert!(contains(&answer, b"431"), "{answer:?}");
        let (mut send, mut recv) = viewer.quic.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        let answer = recv.read_to_end(10_000).await.unwrap();
        assert!(contains(&answer, b"408"), "{answer:?}");
        assert_eq!(viewer.get("/small.mp4", &[]).await.status, 200);
    });
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

#[test]
fn broken_http3_ends_its_own_connection_alone() {
    let root = tree();
    let (server, _certs) = start(root.path(), &["--workers", "1"]);
    run(async {
        let mut well = Viewer::connect(server.quic()).await;
        for (bytes, code) in [
            (&[0u8, 0][..], 0x105u64),    // DATA before HEADERS
            (&[1, 3, 0, 0, 0x80], 0x200), // a reference to the dynamic table
            (&[4, 0], 0x105),             // SETTINGS on a request stream
            (&[2, 0], 0x105),             // a frame of HTTP/2
        ] {
            let viewer = Viewer::connect(server.quic()).await;
            let (mut send, _recv) = viewer.quic.open_bi().await.unwrap();
            send.write_all(bytes).await.unwrap();
            match viewer.quic.closed().await {
                quinn::ConnectionError::ApplicationClosed(close) => {
                    assert_eq!(u64::from(close.error_code), code, "{bytes:?}");
                }
                other => panic!("{bytes:?}: {other}"),
            }
        }
        assert!(well.get("/f.mp4", &[]).await.body == content(SIZE));
    });
}

#[test]
fn garbage_ends_nothing() {
    let root = tree();
    let big = content(BIG);
    write(&root.path().join("big.mp4"), &big);
    let (server, _certs) = start(root.path(), &["--workers", "2"]);
    let addr = server.quic();
    let noise = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let bytes = content(1 << 20);
        for i in 0..20_000usize {
            let at = (i * 4099) % (bytes.len() - 1500);
            let mut packet = bytes[at..at + 1 + (i * 31) % 1400].to_vec();
            match i % 4 {
                0 => packet[0] |= 0xc0,                   // a long header
                1 => packet[0] = 0x40 | packet[0] & 0x3f, // a short one
                2 if packet.len() > 10 => {
                    // A short header that names a worker.
                    packet[0] = 0x40;
                    (packet[1], packet[2], packet[3]) = ((i % 3) as u8, 0, 0x9d);
                }
                3 => {
                    // An Initial of QUIC 1 that cannot be decrypted.
                    packet.resize(1200, 1);
                    packet[..7].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8, i as u8]);
                    (packet[14], packet[15], packet[16], packet[17]) = (0, 0, 0x44, 0x9e);
                }
                _ => {}
            }
            let _ = socket.send_to(&packet, addr);
            if i % 64 == 0 {
                std::thread::yield_now();
            }
        }
    });
    run(async {
        let mut viewer = Viewer::connect(addr).await;
        let all = viewer.get("/big.mp4", &[]).await;
        assert!(all.body == big);
        while !noise.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut after = Viewer::connect(addr).await;
        assert_eq!(after.get("/small.mp4", &[]).await.status, 200);
    });
}
