//! The origin store: where objects are put, and where one is fetched when no appliance has it.
//!
//! The control plane never carries an object's bytes. It answers with the address of whoever does: the server that the
//! operator put in front of the store, or the bucket itself by a presigned address.

use crate::{
    config::{Config, OriginStore},
    limits,
    problem::ApiProblem,
};
use anyhow::Context;
use cdn_types::api::v1::OriginInfo;
use http::Method;
use object_store::{
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
    signer::Signer,
};

/// How an object's address is made.
enum Way {
    /// The operator named the server of the store.
    Url(String),
    /// The bucket itself.
    Signed { bucket: Box<AmazonS3>, prefix: String },
    /// A directory that nobody serves yet.
    Nobody,
}

/// The origin store.
pub struct Origin {
    info: OriginInfo,
    way: Way,
}

impl Origin {
    /// Makes the store's directory if it is one; `public_url` is where this program is reached.
    pub fn build(config: &Config, public_url: &str) -> anyhow::Result<Self> {
        let default = || OriginStore::Directory(config.data.join("origin"));
        let (store, unserved) = match config.origin_store.clone().unwrap_or_else(default) {
            OriginStore::Directory(dir) => {
                std::fs::create_dir_all(&dir)
                    .with_context(|| format!("cannot make the origin store {}", dir.display()))?;
                let dir = std::path::absolute(&dir).context("the origin store has no absolute path")?;
                (format!("file://{}", dir.display()), Way::Nobody)
            }
            OriginStore::Bucket { bucket, prefix } => {
                let store = format!("s3://{bucket}/{prefix}");
                (store.trim_end_matches('/').to_owned(), signed(&bucket, prefix)?)
            }
        };
        let (url, way) = match &config.origin_url {
            Some(url) => (url.clone(), Way::Url(url.clone())),
            None => (format!("{public_url}/v1/origin"), unserved),
        };
        Ok(Self {
            info: OriginInfo { store, url },
            way,
        })
    }

    /// Where it is.
    pub fn info(&self) -> &OriginInfo {
        &self.info
    }

    /// Whether anybody serves it.
    pub fn is_served(&self) -> bool {
        !matches!(self.way, Way::Nobody)
    }

    /// The address of the object at a public path (`/t/…`).
    pub async fn address(&self, method: Method, path: &str) -> Result<String, ApiProblem> {
        match &self.way {
            Way::Url(url) => Ok(format!("{url}{path}")),
            Way::Signed { bucket, prefix } => {
                let key = Path::from(format!("{prefix}{path}"));
                let url = bucket.signed_url(method, &key, limits::PRESIGNED_TIME).await;
                url.map(String::from)
                    .map_err(|e| ApiProblem::internal(format_args!("cannot presign {key}: {e}")))
            }
            Way::Nobody => Err(ApiProblem::origin_not_served(format_args!(
                "start `oca-server serve` on {} and name it with --origin-url",
                self.info.store
            ))),
        }
    }
}

fn signed(bucket: &str, prefix: String) -> anyhow::Result<Way> {
    let plain = ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .any(|endpoint| endpoint.starts_with("http://"));
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_allow_http(plain)
        .build()
        .with_context(|| format!("--origin-store s3://{bucket}: the AWS_* variables do not suffice"))?;
    Ok(Way::Signed {
        bucket: Box::new(store),
        prefix,
    })
}
