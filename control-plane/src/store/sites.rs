//! Sites.

use super::{Store, StoreError, codec};
use cdn_types::api::v1::Site;

type SiteColumns = (String, String, String, String);

impl Store {
    /// Adds or replaces a site.
    pub async fn put_site(&self, site: &Site) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO sites (id, region, prefixes, fill_window) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET region = excluded.region, prefixes = excluded.prefixes,
                 fill_window = excluded.fill_window",
        )
        .bind(site.id.to_string())
        .bind(site.region.to_string())
        .bind(codec::json(&site.prefixes))
        .bind(codec::json(&site.window))
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// All sites.
    pub async fn sites(&self) -> Result<Vec<Site>, StoreError> {
        let rows: Vec<SiteColumns> =
            sqlx::query_as("SELECT id, region, prefixes, fill_window FROM sites ORDER BY id")
                .fetch_all(&self.read)
                .await?;
        rows.iter().map(site).collect()
    }
}

fn site((id, region, prefixes, window): &SiteColumns) -> Result<Site, StoreError> {
    Ok(Site {
        id: codec::parsed("sites.id", id)?,
        region: codec::parsed("sites.region", region)?,
        prefixes: codec::from_json("sites.prefixes", prefixes)?,
        window: codec::from_json("sites.fill_window", window)?,
    })
}
