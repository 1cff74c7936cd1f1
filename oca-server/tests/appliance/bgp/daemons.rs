//! GoBGP, ExaBGP and FRR as processes, each in a folder and at an address of its own. Each announces 11.1.0.0/16 and
//! 2400:1::/40, both with the community 64500:7, and can take the first back. (ExaBGP 4.2
//! refuses its own configuration when an IPv6 route is a /32: it takes the neighbour's /32 for one of IPv6.)

use std::{
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A daemon that runs.
pub struct Daemon {
    child: Child,
    dir: tempfile::TempDir,
    kind: Kind,
}

enum Kind {
    /// With the address of its API.
    Gobgp(&'static str),
    /// With the commands that it reads.
    Exabgp(File),
    Frr,
}

fn installed(program: &str, package: &str) -> &'static str {
    let places = ["/usr/bin", "/usr/sbin", "/usr/lib/frr"].map(|dir| PathBuf::from(dir).join(program));
    let found = places.into_iter().find(|place| place.exists());
    let found = found.unwrap_or_else(|| {
        panic!("this test needs {program}: install it (Debian: apt-get install {package})")
    });
    Box::leak(found.display().to_string().into_boxed_str())
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap(); // some give up being root
    dir
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let log = File::create(log).unwrap();
    let errors = log.try_clone().unwrap();
    command.stdout(log).stderr(errors).spawn().unwrap()
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().unwrap().success()
}

impl Daemon {
    pub fn gobgp(address: &'static str, to: SocketAddr) -> Self {
        let neighbor = format!(
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = 64999\n\
             [neighbors.transport.config]\nlocal-address = \"{address}\"\nremote-port = {}\n\
             [neighbors.timers.config]\nconnect-retry = 5\nidle-hold-time-after-reset = 1\n\
             [neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 2\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv6-unicast\"\n",
            to.ip(),
            to.port()
        );
        Self::gobgp_with(address, &neighbor, &[])
    }

    /// GoBGP as a router that tells its own table by BMP; it connects from 127.0.0.1. Without a path it would leave
    /// AS_PATH out, which is malformed.
    pub fn gobgp_station(address: &'static str, to: SocketAddr) -> Self {
        let server = format!(
            "[[bmp-servers]]\n[bmp-servers.config]\naddress = \"{}\"\nport = {}\n\
             route-monitoring-policy = \"local-rib\"\n",
            to.ip(),
            to.port()
        );
        Self::gobgp_with(address, &server, &["aspath", "64501"])
    }

    fn gobgp_with(address: &'static str, more: &str, path: &[&str]) -> Self {
        let dir = folder();
        let file = dir.path().join("gobgpd.toml");
        let text = format!("[global.config]\nas = 64500\nrouter-id = \"192.0.2.2\"\nport = -1\n{more}");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(installed("gobgpd", "gobgpd"));
        command
            .arg("-f")
            .arg(&file)
            .args(["--api-hosts", &format!("{address}:50051")]);
        let child = spawn(&mut command, &dir.path().join("log"));
        let daemon = Self {
            child,
            dir,
            kind: Kind::Gobgp(address),
        };
        let four = ["11.1.0.0/16", "nexthop", "10.0.0.1", "community", "64500:7"];
        let six = [
            "-a",
            "ipv6",
            "2400:1::/40",
            "nexthop",
            "2001:db8::1",
            "community",
            "64500:7",
        ];
        crate::world::until("GoBGP runs", || daemon.rib("add", &[&four[..], path].concat()));
        assert!(daemon.rib("add", &[&six[..], path].concat()));
        daemon
    }

    /// `gobgp global rib …`.
    fn rib(&self, what: &str, args: &[&str]) -> bool {
        let Kind::Gobgp(address) = self.kind else {
            panic!("it is no GoBGP")
        };
        let mut command = Command::new(installed("gobgp", "gobgpd"));
        succeeds(command.args(["-u", address, "global", "rib", what]).args(args))
    }

    pub fn exabgp(address: &'static str, to: SocketAddr) -> Self {
        let dir = folder();
        let (file, commands) = (dir.path().join("exabgp.conf"), dir.path().join("commands"));
        nix::unistd::mkfifo(&commands, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
        let text = format!(
            "process commands {{\nrun /bin/cat {};\nencoder text;\n}}\n\
             neighbor {} {{\nrouter-id 192.0.2.3;\nlocal-address {address};\nlocal-as 64500;\npeer-as 64999;\n\
             api {{\nprocesses [ commands ];\n}}\n\
             family {{\nipv4 unicast;\nipv6 unicast;\n}}\n\
             static {{\nroute 11.1.0.0/16 next-hop 10.0.0.1 community [64500:7] as-path [64500];\n\
             route 2400:1::/40 next-hop 2001:db8::1 community [64500:7] as-path [64500];\n}}\n}}\n",
            commands.display(),
            to.ip()
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(installed("exabgp", "exabgp"));
        command
            .arg(&file)
            .env("exabgp_tcp_port", to.port().to_string())
            .env("exabgp_api_cli", "false")
            .env("exabgp_daemon_drop", "false");
        let child = spawn(&mut command, &dir.path().join("log"));
        // Opening waits until ExaBGP reads.
        let commands = File::options().read(true).write(true).open(&commands).unwrap();
        Self {
            child,
            dir,
            kind: Kind::Exabgp(commands),
        }
    }

    pub fn frr(address: &'static str, to: SocketAddr) -> Self {
        let dir = folder();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (ip, port) = (to.ip(), to.port());
        let text = format!(
            "router bgp 64500\n bgp router-id 192.0.2.4\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
             neighbor {ip} remote-as 64999\n neighbor {ip} port {port}\n neighbor {ip} ebgp-multihop 2\n \
             neighbor {ip} update-source {address}\n neighbor {ip} timers connect 1\n \
             address-family ipv4 unicast\n  network 11.1.0.0/16\n  neighbor {ip} route-map told out\n exit-address-family\n \
             address-family ipv6 unicast\n  network 2400:1::/40\n  neighbor {ip} activate\n  neighbor {ip} route-map told out\n exit-address-family\n\
             route-map told permit 10\n set community 64500:7\n set ipv6 next-hop global 2001:db8::1\n"
        );
        fs::write(path("bgpd.conf"), text).unwrap();
        let mut command = Command::new(installed("bgpd", "frr"));
        command.args([
            "-f",
            &path("bgpd.conf"),
            "-i",
            &path("pid"),
            "--vty_socket",
            &path(""),
        ]);
        command.args(["-n", "-Z", "-S", "-P", "0", "-p", "17900", "-l", address]);
        let child = spawn(&mut command, &dir.path().join("log"));
        Self {
            child,
            dir,
            kind: Kind::Frr,
        }
    }

    /// Takes 11.1.0.0/16 back.
    pub fn withdraw(&mut self) {
        match &mut self.kind {
            Kind::Gobgp(_) => assert!(self.rib("del", &["11.1.0.0/16"])),
            Kind::Exabgp(commands) => {
                commands
                    .write_all(b"withdraw route 11.1.0.0/16 next-hop 10.0.0.1\n")
                    .unwrap();
            }
            Kind::Frr => {
                let mut command = Command::new(installed("vtysh", "frr"));
                command.arg("--vty_socket").arg(self.dir.path());
                for line in [
                    "configure",
                    "router bgp 64500",
                    "address-family ipv4 unicast",
                    "no network 11.1.0.0/16",
                ] {
                    command.args(["-c", line]);
                }
                assert!(succeeds(&mut command));
            }
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon says: {}", self.log());
        }
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
