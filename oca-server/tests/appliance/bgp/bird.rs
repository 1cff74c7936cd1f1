//! BIRD 2 as a process, in a folder and at an address of its own.

use crate::world::until;
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

/// BIRD 2 with a few routes.
pub struct Bird {
    child: Option<Child>,
    dir: tempfile::TempDir,
    address: &'static str,
    to: SocketAddr,
}

pub const BIRD: &str = "/usr/sbin/bird";
/// What it announces of IPv4; the last three count for nothing.
const ROUTES: [&str; 6] = [
    "11.1.0.0/16",
    "11.2.3.0/24",
    "11.9.0.0/16",
    "10.1.0.0/16",
    "11.2.4.0/25",
    "0.0.0.0/0",
];

impl Bird {
    pub fn new(address: &'static str, to: SocketAddr) -> Self {
        assert!(
            Path::new(BIRD).exists(),
            "this test needs {BIRD}: install it (Debian: apt-get install bird2)"
        );
        Self {
            child: None,
            dir: tempfile::tempdir().unwrap(),
            address,
            to,
        }
    }

    /// Starts it with these lines more for the session.
    pub fn start(&mut self, more: &str) {
        self.run(&ROUTES, more, &[]);
    }

    /// Starts it with two paths to 11.1.0.0/16, of which it tells both.
    pub fn start_with_two_paths(&mut self) {
        let second = "protocol static s5 { ipv4 { preference 100; }; route 11.1.0.0/16 blackhole; }";
        self.run_with(&ROUTES, "", "add paths tx;", second, &[]);
    }

    /// Starts it anew after a kill, as one that has kept its forwarding state, without one route.
    pub fn restart_without(&mut self, route: &str, more: &str) {
        let routes: Vec<&str> = ROUTES.into_iter().filter(|r| *r != route).collect();
        self.run(&routes, more, &["-R"]);
    }

    fn run(&mut self, routes: &[&str], more: &str, args: &[&str]) {
        self.run_with(routes, more, "", "", args);
    }

    fn run_with(&mut self, routes: &[&str], session: &str, channel: &str, protocols: &str, args: &[&str]) {
        let path = |name: &str| self.dir.path().join(name);
        fs::write(
            path("bird.conf"),
            self.configuration(routes, session, channel, protocols),
        )
        .unwrap();
        let child = Command::new(BIRD)
            .args(["-f", "-c"])
            .arg(path("bird.conf"))
            .arg("-s")
            .arg(path("ctl"))
            .arg("-P")
            .arg(path("pid"))
            .args(args)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("BIRD runs", || self.try_command("show status").is_some());
    }

    /// On loopback the next hops must be given, or BIRD withdraws all; without `strict bind` it listens on every address; `error wait time` is how fast it comes back.
    fn configuration(&self, routes: &[&str], session: &str, channel: &str, protocols: &str) -> String {
        let routes: String = routes
            .iter()
            .map(|r| format!("route {r} unreachable;\n"))
            .collect();
        let (address, to, port, dir) = (
            self.address,
            self.to.ip(),
            self.to.port(),
            self.dir.path().display(),
        );
        format!(
            "log \"{dir}/log\" all;
             router id 192.0.2.1;
             protocol static s4 {{ ipv4; {routes} }}
             protocol static s6 {{ ipv6; route 2400:1::/32 unreachable; }}
             {protocols}
             filter told {{
               if proto = \"s5\" then bgp_path.prepend(64502);
               if net = 11.2.3.0/24 then {{
                 bgp_path.prepend(4200000005); bgp_path.prepend(64501); bgp_med = 50;
                 bgp_community.add((64500, 7)); bgp_large_community.add((64500, 1, 2));
               }}
               if net = 11.9.0.0/16 then bgp_path.prepend(64999);
               accept;
             }}
             protocol bgp oca {{
               local {address} port 17900 as 64500;
               neighbor {to} port {port} as 64999;
               multihop 2; strict bind on; connect delay time 1; connect retry time 1; error wait time 1, 1;
               {session}
               ipv4 {{ {channel} import none; export filter told; next hop address 10.0.0.1; }};
               ipv6 {{ import none; export all; next hop address 2001:db8::1; }};
             }}"
        )
    }

    fn try_command(&self, command: &str) -> Option<String> {
        let out = Command::new("/usr/sbin/birdc")
            .arg("-s")
            .arg(self.dir.path().join("ctl"))
            .arg(command)
            .output()
            .unwrap();
        out.status
            .success()
            .then(|| String::from_utf8(out.stdout).unwrap())
    }

    /// A command of its command line.
    pub fn command(&self, command: &str) -> String {
        self.try_command(command).expect("BIRD answers")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        self.kill();
    }
}
