//! Which appliances for this viewer: JSON, 302, manifests, content steering.
