//! Demand by half-years: what reports of past half-years and the launch calendar say about the next one.
//!
//! [`Report`]s list the catalogue with the hours viewed of each title. [`Reports`] gives a renamed title its old
//! key. [`Outlook`] is what is known when a period is decided: earlier reports, the titles that the calendar releases
//! inside the period, and the weekly lists until its first day. From it comes one row of features for each candidate:
//! a title of an earlier report or of the calendar. What a report says of its own period reaches the target alone.

mod features;
mod outlook;
mod report;

pub use features::{density, log_density};
pub use outlook::{Candidate, Outlook};
pub use report::{GapError, Half, Kind, Report, ReportTitle, Reports, WeeklyHours, days};
