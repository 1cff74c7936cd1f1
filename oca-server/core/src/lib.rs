//! Decisions of the appliance: ranges, conditions, responses, budgets, fill scheduling; pure.
