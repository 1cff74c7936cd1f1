//! Ranks appliances for one client and one asset, with reasons; pure.
