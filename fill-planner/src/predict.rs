//! `fill-planner predict` and `explain`: what a model expects of a day, and why.

use crate::{
    cli::{ExplainArgs, ForecastArgs, PredictArgs},
    error::PlannerError,
    forecast::{KIND, past, predictor},
    model::ModelFile,
    output,
};
use cdn_types::{Bytes, ObjectDigest, TitleId};
use fill_core::{Boosted, History, Predictor, features::said, forecast::Explanation, service::Service};
use std::{fmt::Write as _, sync::Arc};

/// Features that an explanation names.
const NAMED: usize = 10;

/// Writes what every object is expected to draw in every region.
///
/// # Errors
/// When an input is wrong or the file cannot be written.
pub fn predict(args: &PredictArgs) -> Result<(), PlannerError> {
    let (boosted, history) = open(&args.forecast)?;
    let forecast = boosted.predict(&history);
    let mut out = "object,region,expected,q10,q50,q90\n".to_owned();
    for region in forecast.regions() {
        for (object, bytes) in forecast.objects(region) {
            let [low, middle, high] = forecast.quantiles(region, object);
            // Writing to memory does not fail.
            let _ = writeln!(out, "{object},{region},{bytes:.0},{low:.0},{middle:.0},{high:.0}");
        }
    }
    match &args.out {
        Some(file) => output::replace(file, out.as_bytes())?,
        None => print!("{out}"),
    }
    Ok(())
}

/// Says why an object is expected to draw what it is.
///
/// # Errors
/// When an input is wrong, or object or region are not known.
pub fn explain(args: &ExplainArgs) -> Result<(), PlannerError> {
    let (boosted, history) = open(&args.forecast)?;
    let (title, object) = find(boosted.service(), &args.object)?;
    let why = boosted.explain(&history, &args.region, title).ok_or_else(|| {
        let regions: Vec<_> = history.regions().map(ToString::to_string).collect();
        let known = if regions.is_empty() {
            "none".to_owned()
        } else {
            regions.join(", ")
        };
        PlannerError::Usage(format!(
            "region {} has no demand before {}; there is demand in: {known}",
            args.region,
            history.planned()
        ))
    })?;
    let id = &boosted.service().titles()[title].id;
    print!("{}", text(&why, id, object, args, &history));
    Ok(())
}

fn open(args: &ForecastArgs) -> Result<(Boosted, History), PlannerError> {
    let model = ModelFile::read(&args.model, KIND)?;
    let (history, catalogue) = past(&args.past, Some(args.date))?;
    let service = Arc::new(args.past.service.service(&catalogue)?);
    Ok((predictor(model, service), history))
}

/// The title that is named, or whose file is.
fn find(service: &Service, name: &str) -> Result<(usize, Option<ObjectDigest>), PlannerError> {
    if let Ok(object) = name.parse::<ObjectDigest>()
        && let Some((_, title, _)) = service.places(&object).first()
    {
        return Ok((*title as usize, Some(object)));
    }
    let title = TitleId::new(name).ok().and_then(|id| service.title(&id));
    title.map(|t| (t, None)).ok_or_else(|| {
        PlannerError::Usage(format!(
            "`{name}` is no object and no title of the catalogue; give a digest of 64 hex digits or a title id"
        ))
    })
}

fn text(
    why: &Explanation,
    title: &TitleId,
    object: Option<ObjectDigest>,
    args: &ExplainArgs,
    history: &History,
) -> String {
    let bytes = |b: f64| Bytes(b.max(0.0).round() as u64).to_string();
    let part = object
        .and_then(|o| why.files.iter().find(|f| f.0 == o))
        .map(|f| f.1);
    let whole = part.unwrap_or(1.0);
    let [low, middle, high] = why.quantiles.map(|q| bytes(q * whole));
    let subject = object.map_or_else(
        || format!("title {title}"),
        |o| format!("object {} of title {title}", o.short()),
    );
    let mut out = format!(
        "{subject}, region {}, {}: {} expected\n\
         in eight days of ten between {low} and {high}, in half of them below {middle}\n",
        args.region,
        history.planned(),
        bytes(why.bytes * whole)
    );
    let mut line = |name: &str, value: String, note: &str| {
        // Writing to memory does not fail.
        let _ = writeln!(out, "  {name:<42} {value:>10}  {note}");
    };
    if let Some(part) = part {
        line(
            "this file's part",
            format!("{:.1} %", 100.0 * part),
            "as the title's files were drawn here; of a new title, as files like it are",
        );
    }
    line("all of the title", bytes(why.bytes), "");
    line(
        "all titles of the region",
        bytes(why.total),
        "the same weekday of the last two weeks",
    );
    if why.debut {
        line(
            "",
            String::new(),
            "nobody has drawn it and no calendar names it: its part of what such titles draw when they begin",
        );
        return out;
    }
    line(
        "plain expectation",
        bytes(why.plain),
        "a mean of the days before, each counting half as much as two days later; of a launch, the calendar's weight",
    );
    if !why.asked {
        line(
            "",
            String::new(),
            "it is among the least drawn: nothing more is learnt of these",
        );
        return out;
    }
    let times = |factor: f64| format!("x {factor:.3}");
    line("every title", times(why.start), "");
    for (name, value, factor) in &why.factors[..NAMED.min(why.factors.len())] {
        line(name, times(*factor), &said(name, *value));
    }
    let rest: f64 = why.factors.iter().skip(NAMED).map(|f| f.2).product();
    line("what else is known", times(rest), "");
    line(
        "titles of its age",
        times(why.correction),
        "what came over what was expected of them",
    );
    line(
        "",
        String::new(),
        &format!(
            "(factors hold with {} added, less is not told from nothing)",
            bytes(why.least)
        ),
    );
    out
}
