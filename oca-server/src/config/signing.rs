//! The keys about signed addresses: `signing_keys` switches them on, the others go with it.

use super::Reader;
use crate::signing::SigningConfig;
use std::path::Path;
use url_signing::{DEFAULT_ATTRIBUTE, check_attribute};

/// What the file says of signed addresses; absent = no token is asked for.
pub(super) fn signing(r: &mut Reader<'_>, folder: &Path) -> Option<SigningConfig> {
    let keys = r.string("signing_keys");
    let attribute = r.string("signing_attribute");
    let audience = r.string("signing_audience");
    let paths = r.strings("signing_paths");
    let fill_issuer = r.string("signing_fill_issuer");
    if let Some(Err(e)) = attribute.as_deref().map(check_attribute) {
        r.problem("signing_attribute", e.to_string());
    }
    if let Some(bad) = paths.iter().flatten().find(|p| !p.starts_with('/')) {
        r.problem("signing_paths", format!("`{bad}` does not begin with /"));
    }
    let Some(keys) = keys else {
        let others = [
            ("signing_attribute", attribute.is_some()),
            ("signing_audience", audience.is_some()),
            ("signing_paths", paths.is_some()),
            ("signing_fill_issuer", fill_issuer.is_some()),
        ];
        for (name, _) in others.into_iter().filter(|(_, given)| *given) {
            r.problem(
                name,
                "goes with signing_keys, the file of the issuers' keys".to_owned(),
            );
        }
        return None;
    };
    Some(SigningConfig {
        keys: folder.join(keys),
        attribute: attribute.unwrap_or_else(|| DEFAULT_ATTRIBUTE.to_owned()),
        audience,
        paths: paths.unwrap_or_else(|| vec!["/".to_owned()]),
        fill_issuer,
    })
}
