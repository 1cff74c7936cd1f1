//! Small requests of this service's own: whether an appliance answers at its viewers' address at all.
//!
//! Each takes a new connection, as a new viewer would, and reads the head of the answer only. Any status below 500 is
//! good: 404 and 429 are answers of a server that is well. When to ask whom is decided in `steering_core::circuit`.

use cdn_types::OcaId;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// Time for an answer: longer than any healthy way takes.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Probes under way at once.
const AT_ONCE: usize = 512;

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Of which appliance.
    pub appliance: OcaId,
    /// It answered well and in time.
    pub answered: bool,
}

/// Sends probes.
pub struct Prober {
    client: reqwest::Client,
    path: String,
    room: Arc<Semaphore>,
    found: Arc<Mutex<Vec<Found>>>,
}

impl Prober {
    /// Asks for `path`.
    pub fn new(path: String) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("steering-service/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            client,
            path,
            room: Arc::new(Semaphore::new(AT_ONCE)),
            found: Arc::default(),
        })
    }

    /// Asks an appliance, unless too many are being asked already.
    pub fn send(&self, appliance: OcaId, base_url: &str) -> bool {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            return false;
        };
        let request = self.client.get(format!("{base_url}{}", self.path));
        let found = Arc::clone(&self.found);
        tokio::spawn(async move {
            let answered = matches!(request.send().await, Ok(answer) if answer.status().as_u16() < 500);
            drop(room);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.push(Found { appliance, answered });
        });
        true
    }

    /// Takes out what was found since the last time.
    pub fn collect(&self) -> Vec<Found> {
        std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
