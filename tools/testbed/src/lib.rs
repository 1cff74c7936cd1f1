//! End-to-end tests with real programs and a real browser.
