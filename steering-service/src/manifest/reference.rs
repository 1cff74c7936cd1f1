//! Resolves the relative references of a packed manifest against a pathway (RFC 3986 §5.2, what packed manifests
//! need of it).

use super::Pathway;

/// Whether a reference names its own host: then no appliance serves it and it is left as it is.
pub fn is_external(reference: &str) -> bool {
    if reference.starts_with("//") {
        return true;
    }
    let scheme = reference.split(['/', '?', '#']).next().unwrap_or_default();
    scheme.split_once(':').is_some_and(|(s, _)| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'))
    })
}

/// Directory of a manifest below the title's prefix, with a trailing slash unless it is empty.
pub fn directory(manifest_path: &str) -> &str {
    manifest_path
        .rfind('/')
        .map_or("", |slash| &manifest_path[..=slash])
}

/// Directory (as [`directory`] gives it) that a relative base, seen from `dir`, leads to.
pub fn descend(dir: &str, base: &str) -> String {
    let joined = join(dir, directory(strip_suffix(base).0));
    if joined.is_empty() {
        joined
    } else {
        format!("{}/", joined.trim_end_matches('/'))
    }
}

/// Absolute address on `pathway` of a reference found in a manifest that lies in `dir` below the prefix.
pub fn absolute(pathway: &Pathway, dir: &str, reference: &str) -> String {
    if is_external(reference) {
        return reference.to_owned();
    }
    if reference.starts_with('/') {
        let below = reference.strip_prefix(pathway.plain.as_str());
        return match below.filter(|below| below.starts_with('/')) {
            Some(below) => format!("{}{}{below}", pathway.base_url, pathway.prefix),
            None => format!("{}{reference}", pathway.base_url),
        };
    }
    let (path, suffix) = strip_suffix(reference);
    format!(
        "{}/{}{suffix}",
        pathway.url("").trim_end_matches('/'),
        join(dir, path)
    )
}

/// Splits query and fragment off.
fn strip_suffix(reference: &str) -> (&str, &str) {
    reference.split_at(reference.find(['?', '#']).unwrap_or(reference.len()))
}

/// Joins and removes dot segments; what would climb above the title's prefix stays at it.
fn join(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut joined = parts.join("/");
    if path.ends_with('/') && !joined.is_empty() {
        joined.push('/');
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_against_the_pathway() {
        let p = Pathway {
            id: "a".into(),
            base_url: "http://127.0.0.2:8080".into(),
            plain: "/t/x/1".into(),
            prefix: "/t;P=a.b/x/1".into(),
        };
        for (dir, reference, wanted) in [
            ("", "v720.m3u8", "http://127.0.0.2:8080/t;P=a.b/x/1/v720.m3u8"),
            (
                "hls/",
                "v720.m3u8",
                "http://127.0.0.2:8080/t;P=a.b/x/1/hls/v720.m3u8",
            ),
            (
                "hls/",
                "../v720.m3u8?a=1/2",
                "http://127.0.0.2:8080/t;P=a.b/x/1/v720.m3u8?a=1/2",
            ),
            (
                "hls/",
                "./a/b.m3u8",
                "http://127.0.0.2:8080/t;P=a.b/x/1/hls/a/b.m3u8",
            ),
            ("", "../../../etc", "http://127.0.0.2:8080/t;P=a.b/x/1/etc"),
            ("", "/t/x/1/v.m3u8", "http://127.0.0.2:8080/t;P=a.b/x/1/v.m3u8"),
            ("", "/t/x/12/v.m3u8", "http://127.0.0.2:8080/t/x/12/v.m3u8"),
            ("", "https://other/v.m3u8", "https://other/v.m3u8"),
            ("", "//other/v.m3u8", "//other/v.m3u8"),
        ] {
            assert_eq!(absolute(&p, dir, reference), wanted, "{dir} {reference}");
        }
    }

    #[test]
    fn bases_lead_to_directories() {
        assert_eq!(descend("", "media/"), "media/");
        assert_eq!(descend("dash/", "../media/"), "media/");
        assert_eq!(descend("dash/", "video.mp4"), "dash/");
        assert_eq!(descend("", "./"), "");
        assert!(is_external("http://x/") && is_external("//x/") && !is_external("a/b:c"));
    }
}
