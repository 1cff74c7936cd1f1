//! API tokens and one-time join tokens. Only their hashes are kept: whoever reads the file can use none of them.

use super::{Store, StoreError, codec};
use cdn_types::{OcaId, SiteId, api::v1::Role, time::Timestamp};

/// Who has an API token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// What its bearer may do.
    pub role: Role,
    /// For people.
    pub name: String,
    /// The one appliance that it speaks for; appliances' tokens only.
    pub appliance: Option<OcaId>,
}

/// A join token as it was made and used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTokenRow {
    /// Id that the appliance will have.
    pub appliance: OcaId,
    /// Its site.
    pub site: SiteId,
    /// When the token becomes void.
    pub expires: Timestamp,
    /// Whether the appliance has joined with it.
    pub presented: bool,
    /// Whether the appliance has reported since, which ends the token.
    pub used: bool,
}

type JoinTokenColumns = (String, String, i64, Option<i64>, Option<i64>);

impl Store {
    /// Adds an API token.
    pub async fn add_token(&self, hash: &[u8; 32], row: &TokenRow, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(INSERT_TOKEN)
            .bind(hash.to_vec())
            .bind(codec::name(row.role))
            .bind(row.name.clone())
            .bind(row.appliance.as_ref().map(ToString::to_string))
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Who has the token of this hash.
    pub async fn token(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>, StoreError> {
        let row: Option<(String, String, Option<String>)> =
            sqlx::query_as("SELECT role, name, appliance FROM tokens WHERE hash = $1")
                .bind(hash.to_vec())
                .fetch_optional(&self.read)
                .await?;
        row.map(|(role, name, appliance)| {
            Ok(TokenRow {
                role: codec::from_name("tokens.role", &role)?,
                name,
                appliance: appliance
                    .map(|a| codec::parsed("tokens.appliance", &a))
                    .transpose()?,
            })
        })
        .transpose()
    }

    /// Whether there is any admin token.
    pub async fn has_admin(&self) -> Result<bool, StoreError> {
        let (n,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM tokens WHERE role = 'admin'")
            .fetch_one(&self.read)
            .await?;
        Ok(n > 0)
    }

    /// Adds a join token and forgets those that expired before `now`.
    pub async fn add_join_token(
        &self,
        hash: &[u8; 32],
        row: &JoinTokenRow,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM join_tokens WHERE expires < $1")
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO join_tokens (hash, appliance, site, expires) VALUES ($1, $2, $3, $4)")
            .bind(hash.to_vec())
            .bind(row.appliance.to_string())
            .bind(row.site.to_string())
            .bind(row.expires.as_millisecond())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// The join token of this hash.
    pub async fn join_token(&self, hash: &[u8; 32]) -> Result<Option<JoinTokenRow>, StoreError> {
        let row: Option<JoinTokenColumns> = sqlx::query_as(
            "SELECT appliance, site, expires, presented, used FROM join_tokens WHERE hash = $1",
        )
        .bind(hash.to_vec())
        .fetch_optional(&self.read)
        .await?;
        row.map(|(appliance, site, expires, presented, used)| {
            Ok(JoinTokenRow {
                appliance: codec::parsed("join_tokens.appliance", &appliance)?,
                site: codec::parsed("join_tokens.site", &site)?,
                expires: codec::time("join_tokens.expires", expires)?,
                presented: presented.is_some(),
                used: used.is_some(),
            })
        })
        .transpose()
    }
}

/// A role as the wire and the table name it.
pub fn role_name(role: Role) -> String {
    codec::name(role)
}

/// Shared with the join, which adds the appliance's token in its own transaction.
pub const INSERT_TOKEN: &str =
    "INSERT INTO tokens (hash, role, name, appliance, created) VALUES ($1, $2, $3, $4, $5)";
