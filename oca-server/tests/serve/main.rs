//! `oca-server serve`, started for real on a free port and asked over real sockets.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, like the tests"
)]

mod cmcd;
mod connections;
mod drain;
mod faults;
mod h3;
mod h3_client;
mod hostile;
mod log_and_admin;
mod nginx;
mod nginx_table;
mod oracles;
mod overload;
mod signing;
mod support;
mod tls;
mod tls_sessions;
mod upgrade;
