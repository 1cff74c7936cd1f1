//! The gate of one worker: decides before any look at the disk whether a request may have what it asks for.
//!
//! A token's signature is verified once and what it grants is kept, for a player shows the same token with every
//! segment; each request is then matched anew, so that a kept grant can never cover more than its token does. Tokens
//! that are refused are kept too. The worker owns its memory: nothing is locked, and a token that is known costs a
//! digest, a look-up and a match.

use super::{Signing, now};
use crate::http::{
    Protocol,
    exchange::{Exchange, Said},
};
use lru::LruCache;
use oca_core::{path::Target, request::Method};
use ring::digest::{SHA256, digest};
use std::{borrow::Cow, cell::RefCell, num::NonZeroUsize, rc::Rc, sync::Arc};
use url_signing::{Carried, Grant, KeySet, Reason, Request, Uri, Verifier, find_in_cookies, find_in_target};

/// Good tokens that a worker remembers. A kept grant of our own form has some 300 bytes; one with an expression of others up
/// to 0.5 MiB, which only their issuers can make.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Refused tokens that a worker remembers: apart from the good ones, so that nobody can push those out with rubbish.
const REFUSALS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// What became of a request at the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is asked for on that path.
    Unasked,
    /// Let through; with the `Set-Cookie` that prolongs it, if it is time.
    Granted(Option<String>),
    /// Refused.
    Refused(Reason),
}

/// A request at the gate.
#[derive(Debug)]
pub struct Admitted<'t> {
    /// The target without a token: what is looked up and logged.
    pub target: Cow<'t, str>,
    /// The word on it.
    pub verdict: Verdict,
}

impl Admitted<'_> {
    /// The target to look up; `said` then says it too, so that no token gets into the log.
    pub fn instead<'a>(&'a self, said: &mut Said<'a>) -> &'a str {
        (said.path, said.query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_ref(), None),
        };
        &self.target
    }

    /// Has the verdict logged and counted; the status if it is a refusal.
    pub fn told(&self, exchange: &mut Exchange) -> Option<u16> {
        exchange.judged(&self.verdict);
        matches!(self.verdict, Verdict::Refused(_)).then_some(403)
    }

    /// The `Set-Cookie` of a response of that status (RFC 9246 §3.3: a successful one).
    pub fn cookie(self, status: u16) -> Option<String> {
        match self.verdict {
            Verdict::Granted(cookie) if (200..300).contains(&status) => cookie,
            _ => None,
        }
    }
}

struct Memory {
    /// The keys that all of it was verified by.
    keys: Arc<KeySet>,
    grants: LruCache<[u8; 32], Rc<Grant>>,
    refusals: LruCache<[u8; 32], Reason>,
}

/// One worker's gate.
pub struct Gate {
    signing: Arc<Signing>,
    memory: RefCell<Memory>,
}

impl Gate {
    /// A gate that has seen nothing yet.
    pub fn new(signing: Arc<Signing>) -> Self {
        let memory = Memory {
            keys: signing.keys.load_full(),
            grants: LruCache::new(REMEMBERED),
            refusals: LruCache::new(REFUSALS),
        };
        Self {
            signing,
            memory: RefCell::new(memory),
        }
    }

    /// Takes the token off a target and judges it.
    pub fn admit<'t>(
        &self,
        protocol: Protocol,
        secure: bool,
        method: Method,
        target: &'t str,
        said: &Said<'_>,
    ) -> Admitted<'t> {
        let (token, target) = match find_in_target(&self.signing.config.attribute, target) {
            Ok(Some(Carried { token, target })) => (Ok(Some(token)), target),
            Ok(None) => (Ok(None), Cow::Borrowed(target)),
            Err(reason) => (Err(reason), Cow::Borrowed(target)),
        };
        if !self.asks(method, &target) {
            return Admitted {
                target,
                verdict: Verdict::Unasked,
            };
        }
        let verdict = token.and_then(|token| self.judge(protocol, secure, said, token, &target));
        Admitted {
            verdict: verdict.map_or_else(Verdict::Refused, Verdict::Granted),
            target,
        }
    }

    /// Whether a token is asked for. What is no request for a file is answered without one: a browser's preflight carries
    /// none, and a target that cannot be parsed is answered 400.
    fn asks(&self, method: Method, target: &str) -> bool {
        matches!(method, Method::Get | Method::Head)
            && Target::parse(target).is_ok_and(|t| {
                let mut paths = self.signing.config.paths.iter();
                paths.any(|begin| t.path.starts_with(begin.as_str()))
            })
    }

    fn judge(
        &self,
        protocol: Protocol,
        secure: bool,
        said: &Said<'_>,
        token: Option<&str>,
        target: &str,
    ) -> Result<Option<String>, Reason> {
        let config = &self.signing.config;
        let in_header = || said.access_token.and_then(|v| std::str::from_utf8(v).ok());
        let in_cookie = || {
            let mut fields = said.cookies.iter().flatten();
            fields.find_map(|field| find_in_cookies(&config.attribute, field))
        };
        let token = token
            .or_else(in_header)
            .or_else(in_cookie)
            .ok_or(Reason::Missing)?;
        let host = said
            .host
            .and_then(|h| std::str::from_utf8(h).ok())
            .unwrap_or_default();
        let uri = Uri::new(if secure { "https" } else { "http" }, host, target)?;
        let request = Request {
            uri: &uri,
            method: said.method,
            protocol: match protocol {
                Protocol::Http10 => "http/1.0",
                Protocol::Http11 => "http/1.1",
                Protocol::Http2 => "h2",
                Protocol::Http3 => "h3",
            },
        };
        let (grant, now) = (self.open(token)?, now());
        grant.check(&request, now)?;
        if !grant.is_due(now) {
            return Ok(None);
        }
        let keys = self.signing.keys.load();
        Ok(grant.renew(&config.attribute, &keys, &uri, now, &self.signing.random))
    }

    fn open(&self, token: &str) -> Result<Rc<Grant>, Reason> {
        let memory = &mut *self.memory.borrow_mut();
        let keys = self.signing.keys.load();
        if !Arc::ptr_eq(&memory.keys, &keys) {
            memory.keys = Arc::clone(&keys);
            memory.grants.clear();
            memory.refusals.clear();
        }
        let digest = digest(&SHA256, token.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(grant) = memory.grants.get(&digest) {
            return Ok(Rc::clone(grant));
        }
        if let Some(reason) = memory.refusals.get(&digest) {
            return Err(*reason);
        }
        let audience = self.signing.config.audience.as_deref();
        match (Verifier {
            keys: &keys,
            audience,
        })
        .open(token)
        {
            Ok(grant) => {
                let grant = Rc::new(grant);
                memory.grants.put(digest, Rc::clone(&grant));
                Ok(grant)
            }
            Err(reason) => {
                memory.refusals.put(digest, reason);
                Err(reason)
            }
        }
    }
}
