//! Hardware profiles: what a kind of appliance has, so that budgets can be computed from it. The data are the files
//! of `hardware-profiles/`, built in; an operator may give a file of the same form.

use crate::{BitsPerSecond, Bytes};
use serde::{Deserialize, Serialize};

/// One kind of appliance. Every amount carries its unit in the file (`"200 Gbps"`, `"256 GB"`, `"400 W"`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HardwareProfile {
    /// Name as given to `--profile`.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Where the figures come from, and which of them are estimates.
    pub source: String,
    /// Physical cores.
    pub cores: u32,
    /// Memory domains.
    pub numa_nodes: u32,
    /// RAM.
    pub memory: Bytes,
    /// Memory bandwidth, all nodes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bandwidth: Option<BitsPerSecond>,
    /// Most that the box can send.
    pub max_egress: BitsPerSecond,
    /// What it is steered to at most, so that a failed neighbour's viewers still fit.
    pub safe_egress: BitsPerSecond,
    /// Rate cap of the nightly fill.
    pub fill_rate: BitsPerSecond,
    /// Peak power draw, e.g. `"400 W"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<String>,
    /// RAM set aside for the hot set; the rest is for the kernel, connections and buffers.
    pub ram_hot: Bytes,
    /// Most connections at once.
    pub connections: u32,
    /// Where TLS is done.
    pub tls: TlsMode,
    /// Network cards.
    pub nic: Vec<Nic>,
    /// Drives.
    pub disk: Vec<Disk>,
}

/// Where TLS records are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// In this process.
    User,
    /// In the kernel (kTLS).
    Kernel,
    /// On the network card.
    Nic,
}

/// A group of equal network ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Ports.
    pub count: u32,
    /// Speed of one.
    pub speed: BitsPerSecond,
    /// Memory domain it is attached to.
    pub numa: u32,
    /// Whether it seals TLS.
    pub tls_offload: bool,
}

/// A group of equal drives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Drives.
    pub count: u32,
    /// Size of one.
    pub size: Bytes,
    /// Kind.
    pub class: DiskClass,
    /// Memory domain they are attached to.
    pub numa: u32,
    /// Sequential read rate of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<BitsPerSecond>,
}

/// Kind of drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DiskClass {
    /// NVMe flash.
    Nvme,
    /// SATA flash.
    Ssd,
    /// Spinning.
    Hdd,
}

/// Why a profile is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, or a field is missing or wrong.
    #[error("{0}")]
    Toml(String),
    /// A figure contradicts another.
    #[error("profile {name}: {what}")]
    Figure {
        /// The profile.
        name: String,
        /// What is wrong and how to mend it.
        what: String,
    },
}

impl HardwareProfile {
    /// Reads and checks a profile file's text.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let p: Self = toml::from_str(text).map_err(|e| ProfileError::Toml(e.to_string()))?;
        let wrong = |what: &str| {
            Err(ProfileError::Figure {
                name: p.name.clone(),
                what: what.to_owned(),
            })
        };
        if p.cores == 0 || p.numa_nodes == 0 || p.connections == 0 {
            return wrong("cores, numa_nodes and connections must be at least 1");
        }
        if p.ram_hot.0 >= p.memory.0 {
            return wrong("ram_hot must be below memory: the kernel and connections need the rest");
        }
        if p.safe_egress > p.max_egress {
            return wrong("safe_egress must not be above max_egress");
        }
        if p.storage().0 == 0 {
            return wrong("needs at least one [[disk]] with a size");
        }
        if p.nic.iter().any(|n| n.numa >= p.numa_nodes) || p.disk.iter().any(|d| d.numa >= p.numa_nodes) {
            return wrong("numa of each nic and disk must be below numa_nodes");
        }
        Ok(p)
    }

    /// Bytes of all drives.
    pub fn storage(&self) -> Bytes {
        self.disk
            .iter()
            .map(|d| Bytes(d.size.0 * u64::from(d.count)))
            .sum()
    }

    /// A built-in profile by name.
    pub fn builtin(name: &str) -> Option<Self> {
        let (_, text) = BUILTIN.iter().find(|(n, _)| *n == name)?;
        Some(Self::parse(text).expect("a test loads every built-in profile"))
    }

    /// Names of the built-in profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(n, _)| *n)
    }
}

macro_rules! builtin {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../hardware-profiles/", $name, ".toml")))),*]
    };
}

const BUILTIN: &[(&str, &str)] = builtin![
    "laptop",
    "small-10g",
    "storage",
    "global",
    "storage-2012",
    "storage-2013",
    "storage-2016",
    "storage-2019",
    "flash-2016",
    "flash-2018",
    "flash-200-intel",
    "flash-200-amd",
    "flash-400-rome",
    "flash-400-altra",
    "flash-icelake",
    "proto-800",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_loads_under_its_name() {
        for name in HardwareProfile::names() {
            assert_eq!(
                HardwareProfile::builtin(name).map(|p| p.name).as_deref(),
                Some(name)
            );
        }
    }

    #[test]
    fn a_wrong_profile_names_the_field() {
        let laptop = BUILTIN.iter().find(|(n, _)| *n == "laptop").unwrap().1;
        let e = HardwareProfile::parse(&laptop.replace("max_egress", "max_egres")).unwrap_err();
        assert!(e.to_string().contains("max_egres"), "{e}");
    }
}
