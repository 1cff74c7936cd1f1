//! The figures that the synthetic demand was fitted with, and what they were fitted to.
//!
//! Public weekly top-10 lists of 94 countries, training weeks 8 to 44 of a year only: 40.7 % of a country's entries are new each
//! week (films 51 %, series 30 %), two countries' lists share a Jaccard index of 0.288, and of the demand (ranks weighted by
//! the hours of the global lists) 37.2 % is on titles new to the country's lists, 26.0 % on titles new to all. The
//! later weeks, 45 to 52, were not fitted to; they show 40.5 %, 0.283, 37.8 %, 25.6 %. Half-yearly reports of a whole
//! catalogue: the top 1, 5, 10, 20 % of titles make 24, 52, 68, 83 % of all hours.

/// Titles and seasons released in a week, before weekly episodes are counted.
pub const RELEASES_A_WEEK: f64 = 27.0;
/// Chance of each weekday, Monday first, for a release: the week's rhythm.
pub const RELEASE_WEEKDAYS: [f64; 7] = [0.07, 0.12, 0.18, 0.22, 0.31, 0.06, 0.04];
/// Part of releases that are films; of the others, those whose episodes come one a week.
pub const FILMS: f64 = 0.62;
/// Part of seasons that come one episode a week.
pub const WEEKLY: f64 = 0.07;
/// Part of releases that are the service's own; the others are licensed, and have been seen elsewhere.
pub const ORIGINALS: f64 = 0.52;
/// Part of releases made for all regions; the others for one.
pub const GLOBAL: f64 = 0.85;

/// Standard deviation of a franchise's part of a title's log weight.
pub const FRANCHISE_SPREAD: f64 = 0.88;
/// Standard deviation of a title's own part.
pub const OWN_SPREAD: f64 = 1.08;
/// How much of its own part a season takes from the season before.
pub const SEASON_MEMORY: f64 = 0.75;
/// Log weight of a title for all regions over one for its own region.
pub const GLOBAL_LEAD: f64 = 0.5;
/// Log weight of licensed titles over the service's own.
pub const LICENSED_LEAD: f64 = 0.0;
/// Error of the calendar's expected weight, as a standard deviation of its log, before it is drawn to the mean.
pub const CALENDAR_ERROR: f64 = 0.75;
/// How far the calendar trusts its own judgement against the mean title.
pub const CALENDAR_TRUST: f64 = 0.8;

/// Standard deviation of a region's own log taste for a title.
pub const TASTE_SPREAD: f64 = 0.24;
/// Part of a region's taste (variance) that its neighbours share.
pub const NEIGHBOUR_SHARE: f64 = 0.4;
/// Log weight, elsewhere, of a title made for one region.
pub const FOREIGN: f64 = -2.6;
/// Chance that a licensed title may be shown in a region.
pub const LICENSED_HERE: f64 = 0.75;
/// Part of these that come later than to the first region, and up to how many days.
pub const LICENSED_LATER: (f64, f64) = (0.8, 180.0);

/// Days in which a launch's lead falls to 1/e: films, seasons, single episodes.
pub const FADE_DAYS: [f64; 3] = [1.6, 9.0, 5.0];
/// Level after the launch over the launch's own: the service's own titles, licensed ones.
pub const SETTLED: [f64; 2] = [0.019, 0.055];
/// The same factor for films: they are watched once.
pub const SETTLED_FILM: f64 = 0.7;
/// Days and power of the slow fall of what has settled.
pub const SLOW_FALL: (f64, f64) = (180.0, 0.9);
/// Earlier seasons are drawn this many times more when a new one comes, falling to 1/e in [`REVIVAL_DAYS`].
pub const REVIVAL: f64 = 2.5;
/// See [`REVIVAL`].
pub const REVIVAL_DAYS: f64 = 12.0;
/// Standard deviation of a week's step of a title's log popularity, everywhere and in a region; and how much of the
/// deviation is left after a week.
pub const DRIFT: [f64; 2] = [0.10, 0.2];
/// See [`DRIFT`].
pub const DRIFT_KEPT: f64 = 0.88;
/// Sudden rises (an award, a meme) in a week, in one region or in all, that no calendar knows.
pub const SURGES_A_WEEK: f64 = 3.0;
/// Height of a surge, and the days in which it falls to 1/e.
pub const SURGE: (f64, f64) = (6.0, 5.0);
/// Standard deviation of a title's log demand from day to day in a region, beside the chance of single sessions.
pub const DAY_NOISE: f64 = 0.10;
