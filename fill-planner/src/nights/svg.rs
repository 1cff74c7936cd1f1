//! Charts as inline SVG: lines over an axis, and bars. No script, no font of its own, colours by class so that the page's
//! style decides.

use std::fmt::Write;

/// Width and height of a chart, and its margins: left, right, top, bottom.
const SIZE: (f64, f64) = (560.0, 300.0);
const MARGIN: (f64, f64, f64, f64) = (76.0, 22.0, 12.0, 46.0);
/// Classes of series, see the page's style.
pub const COLOURS: usize = 6;

/// One line.
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points, by rising x.
    pub points: Vec<[f64; 2]>,
}

/// What an axis shows.
pub struct Axis {
    /// Its name, with the unit.
    pub name: &'static str,
    /// Ends.
    pub range: (f64, f64),
    /// Whether steps are factors.
    pub log: bool,
    /// A value as text.
    pub text: fn(f64) -> String,
}

impl Axis {
    /// An axis around values, with a little room.
    pub fn around(
        name: &'static str,
        values: impl Iterator<Item = f64>,
        log: bool,
        text: fn(f64) -> String,
    ) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite() && (!log || *v > 0.0)) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.5, 1.0);
        }
        let range = if log {
            (low / 1.2, high * 1.2)
        } else {
            let room = (0.08 * (high - low)).max(1e-6);
            (low - room, high + room)
        };
        Self {
            name,
            range,
            log,
            text,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let f = |v: f64| {
            if self.log {
                v.max(f64::MIN_POSITIVE).ln()
            } else {
                v
            }
        };
        (f(value) - f(self.range.0)) / (f(self.range.1) - f(self.range.0))
    }

    /// Round values inside the range.
    fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.range;
        if self.log {
            let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
            let ticks = decades.map(|d| 10f64.powi(d));
            return ticks.filter(|t| (low..=high).contains(t)).collect();
        }
        let rough = (high - low) / 5.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|s| s * unit)
            .into_iter()
            .find(|s| *s >= rough)
            .unwrap_or(rough);
        let first = (low / step).ceil() as i64;
        (first..)
            .map(|i| i as f64 * step)
            .take_while(|t| *t <= high + 1e-12)
            .collect()
    }
}

fn spot(x: &Axis, y: &Axis, at: [f64; 2]) -> (f64, f64) {
    let (left, right, top, bottom) = MARGIN;
    (
        left + x.place(at[0]) * (SIZE.0 - left - right),
        SIZE.1 - bottom - y.place(at[1]) * (SIZE.1 - top - bottom),
    )
}

/// Lines with points; `diagonal`: with the line on which both axes are equal.
pub fn lines(title: &str, x: &Axis, y: &Axis, series: &[Series], diagonal: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = frame(&mut out, title, x, y);
    if diagonal {
        let low = x.range.0.max(y.range.0);
        let high = x.range.1.min(y.range.1);
        let ((x1, y1), (x2, y2)) = (spot(x, y, [low, low]), spot(x, y, [high, high]));
        let _ = write!(
            out,
            r#"<line class="even" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }
    for (i, series) in series.iter().enumerate() {
        let colour = i % COLOURS;
        let points: Vec<(f64, f64)> = series.points.iter().map(|p| spot(x, y, *p)).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(
            out,
            r#"<polyline class="c{colour}" points="{}"/>"#,
            path.join(" ")
        );
        for ((px, py), value) in points.iter().zip(&series.points) {
            let _ = write!(
                out,
                r#"<circle class="c{colour}" cx="{px:.1}" cy="{py:.1}" r="3"><title>{}: {}, {}</title></circle>"#,
                escape(&series.name),
                (x.text)(value[0]),
                (y.text)(value[1])
            );
        }
    }
    out.push_str("</svg>");
    let names: Vec<&str> = series.iter().map(|s| s.name.as_str()).collect();
    format!("<figure>{out}{}</figure>", legend(title, &names))
}

/// Horizontal bars of a share, with a whisker.
pub fn bars(title: &str, rows: &[(String, f64, f64)], text: fn(f64) -> String) -> String {
    let (label, line) = (280.0, 24.0);
    let height = rows.len() as f64 * line + 8.0;
    let high = rows.iter().map(|r| r.2.max(r.1)).fold(0.0, f64::max).max(1e-9);
    let width = SIZE.0 + 140.0;
    let mut out = format!(
        r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#,
        escape(title)
    );
    for (i, (name, low, middle)) in rows.iter().enumerate() {
        let y = i as f64 * line + 4.0;
        let at = |v: f64| label + v / high * (width - label - 120.0);
        let _ = write!(
            out,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect class="bar" x="{label}" y="{:.1}" width="{:.1}" height="15"/><rect class="c0" x="{label}" y="{:.1}" width="{:.1}" height="15"/><text x="{:.1}" y="{:.1}">{} / {}</text>"#,
            label - 8.0,
            y + 14.0,
            escape(name),
            y + 2.0,
            at(*middle) - label,
            y + 2.0,
            at(*low) - label,
            at(*middle) + 6.0,
            y + 14.0,
            text(*low),
            text(*middle)
        );
    }
    out.push_str("</svg>");
    format!("<figure>{out}<figcaption>{}</figcaption></figure>", escape(title))
}

fn frame(out: &mut String, title: &str, x: &Axis, y: &Axis) -> std::fmt::Result {
    let (left, right, top, bottom) = MARGIN;
    write!(
        out,
        r#"<svg viewBox="0 0 {} {}" role="img" aria-label="{}">"#,
        SIZE.0,
        SIZE.1,
        escape(title)
    )?;
    for tick in y.ticks() {
        let (_, at) = spot(x, y, [x.range.0, tick]);
        write!(
            out,
            r#"<line class="grid" x1="{left}" y1="{at:.1}" x2="{:.1}" y2="{at:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            SIZE.0 - right,
            left - 6.0,
            at + 4.0,
            (y.text)(tick)
        )?;
    }
    for tick in x.ticks() {
        let (at, _) = spot(x, y, [tick, y.range.0]);
        write!(
            out,
            r#"<line class="grid" x1="{at:.1}" y1="{top}" x2="{at:.1}" y2="{:.1}"/><text x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            SIZE.1 - bottom,
            SIZE.1 - bottom + 16.0,
            (x.text)(tick)
        )?;
    }
    write!(
        out,
        r#"<text class="name" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text class="name" transform="rotate(-90 13 {:.1})" x="13" y="{:.1}" text-anchor="middle">{}</text>"#,
        (left + SIZE.0 - right) / 2.0,
        SIZE.1 - 8.0,
        escape(x.name),
        (top + SIZE.1 - bottom) / 2.0,
        (top + SIZE.1 - bottom) / 2.0,
        escape(y.name)
    )
}

fn legend(title: &str, names: &[&str]) -> String {
    let names = names.iter().enumerate();
    let names: Vec<String> = names
        .map(|(i, n)| {
            format!(
                r#"<span class="key"><i class="c{}"></i>{}</span>"#,
                i % COLOURS,
                escape(n)
            )
        })
        .collect();
    format!(
        "<figcaption>{}<br>{}</figcaption>",
        escape(title),
        names.join(" ")
    )
}

/// Text for HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lie_in_the_frame_and_names_are_escaped() {
        let series = [Series {
            name: "a<b".into(),
            points: vec![[0.1, 0.5], [0.2, 0.9]],
        }];
        let percent = |v: f64| format!("{:.0} %", 100.0 * v);
        let x = Axis::around("storage", [0.1, 0.2].into_iter(), false, percent);
        let y = Axis::around("hit", [0.5, 0.9].into_iter(), false, percent);
        let svg = lines("t", &x, &y, &series, true);
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b") && !svg.contains("NaN"));
        for circle in svg.split("cx=\"").skip(1) {
            let cx: f64 = circle.split('"').next().unwrap().parse().unwrap();
            assert!((MARGIN.0..SIZE.0).contains(&cx), "{cx}");
        }
        let log = Axis::around("bytes", [1e9, 5e12].into_iter(), true, |v| format!("{v:.0e}"));
        assert_eq!(log.ticks(), [1e9, 1e10, 1e11, 1e12]);
        // Nothing at all is a frame all the same.
        let empty = Axis::around("n", std::iter::empty(), false, percent);
        assert!(lines("t", &empty, &empty, &[], false).ends_with("</figure>"));
    }
}
