//! Plans what each appliance shall hold tomorrow.
