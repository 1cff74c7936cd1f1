//! The fleet's registry, reports, plans, tokens and pages.
