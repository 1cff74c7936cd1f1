//! The address as tokens are matched against it: absolute, without its token, normalised (RFC 3986 §6.2.2 and §6.2.3).
//!
//! What two programs could read in two ways is refused, not repaired: empty path segments, encoded slashes, NUL,
//! fragments. So the path that was matched is the path that is served, whatever order somebody decodes and removes
//! dots in.

use crate::Reason;
use std::ops::Range;

/// A normalised absolute address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    text: String,
    scheme: usize,
    authority: Range<usize>,
    path: Range<usize>,
}

impl Uri {
    /// From a scheme, an authority and a target in origin form, from which the token has been removed. For a target in
    /// absolute form (RFC 9112 §3.2.2) the authority is the target's own.
    ///
    /// # Errors
    /// [`Reason::MalformedUri`].
    pub fn new(scheme: &str, authority: &str, target: &str) -> Result<Self, Reason> {
        let (authority, target) = match target.split_once("://") {
            Some((said, rest)) if !target.starts_with('/') => {
                if !said.eq_ignore_ascii_case("http") && !said.eq_ignore_ascii_case("https") {
                    return Err(Reason::MalformedUri);
                }
                let path = rest.find(['/', '?']).unwrap_or(rest.len());
                rest.split_at(path)
            }
            _ => (authority, target),
        };
        let mut uri = Self {
            text: String::with_capacity(scheme.len() + 3 + authority.len() + target.len() + 1),
            scheme: scheme.len(),
            authority: 0..0,
            path: 0..0,
        };
        uri.text.push_str(scheme);
        uri.text.make_ascii_lowercase();
        uri.text.push_str("://");
        uri.push_authority(authority)?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        uri.push_path(path)?;
        if let Some(query) = query {
            uri.text.push('?');
            push_decoded(&mut uri.text, query, false)?;
        }
        Ok(uri)
    }

    fn push_authority(&mut self, authority: &str) -> Result<(), Reason> {
        let start = self.text.len();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&b);
        if authority.is_empty() || !authority.bytes().all(allowed) {
            return Err(Reason::MalformedUri);
        }
        let default = if &self.text[..self.scheme] == "https" {
            ":443"
        } else {
            ":80"
        };
        let authority = authority.strip_suffix(default).unwrap_or(authority);
        self.text
            .push_str(authority.strip_suffix(':').unwrap_or(authority));
        self.text[start..].make_ascii_lowercase();
        self.authority = start..self.text.len();
        Ok(())
    }

    fn push_path(&mut self, path: &str) -> Result<(), Reason> {
        let start = self.text.len();
        if !path.is_empty() && !path.starts_with('/') {
            return Err(Reason::MalformedUri);
        }
        if path.starts_with('/') && is_normal(path) {
            self.text.push_str(path);
            self.path = start..self.text.len();
            return Ok(());
        }
        let mut decoded = String::with_capacity(path.len());
        push_decoded(&mut decoded, path, true)?;
        let mut segments = decoded.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            match segment {
                "" if !last => return Err(Reason::MalformedUri),
                "." if last => self.text.push('/'),
                "." => {}
                ".." => {
                    let parent = self.text[start..].rfind('/').ok_or(Reason::MalformedUri)?;
                    self.text.truncate(start + parent);
                    if last {
                        self.text.push('/');
                    }
                }
                segment => {
                    self.text.push('/');
                    self.text.push_str(segment);
                }
            }
        }
        if self.text.len() == start {
            self.text.push('/');
        }
        self.path = start..self.text.len();
        Ok(())
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme]
    }

    /// Host without its port.
    pub fn host(&self) -> &str {
        self.split_port().0
    }

    /// Port as it stands in the address; the scheme's own is not written.
    pub fn port(&self) -> Option<&str> {
        self.split_port().1
    }

    fn split_port(&self) -> (&str, Option<&str>) {
        let authority = &self.text[self.authority.clone()];
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        }
    }

    /// Path, from its first slash.
    pub fn path(&self) -> &str {
        &self.text[self.path.clone()]
    }

    /// What follows `?`.
    pub fn query(&self) -> Option<&str> {
        self.text[self.path.end..].strip_prefix('?')
    }
}

/// Whether a path is as it would come out: nothing escaped or to be escaped, no empty and no dot segments.
fn is_normal(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=".contains(&b);
    path.bytes().all(plain) && !path.contains("//") && !path.contains("/.")
}

/// Appends `part` with escapes of unreserved characters decoded and all others in capitals; what may not stand in an
/// address unescaped gets an escape.
fn push_decoded(out: &mut String, part: &str, is_path: bool) -> Result<(), Reason> {
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = match byte {
            b'%' => (unescape(bytes.next(), bytes.next())?, true),
            byte => (byte, false),
        };
        match byte {
            0 => return Err(Reason::MalformedUri),
            b'/' if escaped && is_path => return Err(Reason::MalformedUri),
            b'#' | 1..=0x1f | 0x7f if !escaped => return Err(Reason::MalformedUri),
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            _ if !escaped && b":/?[]@!$&'()*+,;=".contains(&byte) => out.push(char::from(byte)),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    Ok(())
}

fn unescape(high: Option<u8>, low: Option<u8>) -> Result<u8, Reason> {
    let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
        _ => Err(Reason::MalformedUri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised() {
        for (scheme, host, target, wanted) in [
            ("http", "h", "/a", "http://h/a"),
            ("HTTP", "H.Example:80", "", "http://h.example/"),
            ("https", "h:443", "/", "https://h/"),
            ("https", "h:80", "/", "https://h:80/"),
            ("http", "[2001:DB8::1]:8080", "/x", "http://[2001:db8::1]:8080/x"),
            ("http", "h", "/%7ea/%41?%7e=%2f", "http://h/~a/A?~=%2F"),
            ("http", "h", "/a/./b/../c", "http://h/a/c"),
            ("http", "h", "/a/%2e%2E/c", "http://h/c"),
            ("http", "h", "/a/..", "http://h/"),
            ("http", "h", "/a/b/.", "http://h/a/b/"),
            ("http", "h", "/a/", "http://h/a/"),
            ("http", "h", "/%252e%252e/a", "http://h/%252e%252e/a"),
            ("http", "h", "/ü \\", "http://h/%C3%BC%20%5C"),
            ("http", "h", "/%c3%bc%3b;", "http://h/%C3%BC%3B;"),
            ("http", "h", "/?a=/../b//c", "http://h/?a=/../b//c"),
            ("http", "x", "HTTPS://Host/a?b", "http://host/a?b"),
        ] {
            let uri = Uri::new(scheme, host, target).unwrap();
            assert_eq!(uri.as_str(), wanted, "{host} {target}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (host, target) in [
            ("h", "/a//b"),
            ("h", "//a"),
            ("h", "/a%2Fb"),
            ("h", "/a%00"),
            ("h", "/a#b"),
            ("h", "/a?b#c"),
            ("h", "/a\nb"),
            ("h", "/%zz"),
            ("h", "/%4"),
            ("h", "/.."),
            ("h", "/a/../../b"),
            ("h", "a"),
            ("h", "ftp://h/a"),
            ("", "/a"),
            ("a/b", "/a"),
            ("u@h", "/a"),
            ("h?", "/a"),
        ] {
            assert_eq!(
                Uri::new("http", host, target),
                Err(Reason::MalformedUri),
                "{host} {target}"
            );
        }
    }

    #[test]
    fn parts_are_told_apart() {
        let uri = Uri::new("https", "[::1]:8443", "/a/b.mp4?x=1").unwrap();
        assert_eq!(
            (uri.scheme(), uri.host(), uri.port()),
            ("https", "[::1]", Some("8443"))
        );
        assert_eq!((uri.path(), uri.query()), ("/a/b.mp4", Some("x=1")));
        let uri = Uri::new("http", "[::1]", "/a").unwrap();
        assert_eq!((uri.host(), uri.port(), uri.query()), ("[::1]", None, None));
    }
}
