//! One picture of all ratios: a bar a case as wide as its mean, a whisker from the best to the worst round, a mark at the target.
//! Written as SVG by hand, legible on light and on dark ground.

use crate::result::{Better, CaseResult, short};
use anyhow::Context;
use std::{
    fmt::{self, Write},
    fs,
    path::Path,
};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;
/// Ratios up to here are drawn to scale; what is longer ends with an arrow.
const LONGEST: f64 = 2.0;

/// Draws the ratios among `all` into `file`.
pub(crate) fn write(all: &[CaseResult], file: &Path) -> anyhow::Result<()> {
    let ratios: Vec<_> = all.iter().filter(|r| r.judged_as.contains('/')).collect();
    let mut svg = String::new();
    draw(&ratios, &mut svg).expect("a String takes all");
    fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))
}

fn x(ratio: f64) -> f64 {
    LEFT + ratio.min(LONGEST) / LONGEST * (WIDTH - LEFT - RIGHT)
}

fn draw(ratios: &[&CaseResult], out: &mut String) -> fmt::Result {
    let height = TOP + ROW * ratios.len() as f64 + 30.0;
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="Ratios of Nightfill's server to nginx, with targets">
<style>
text {{ fill: #1f2328 }} .dim {{ fill: #59636e }} .grid {{ stroke: #d1d9e0 }} .one {{ stroke: #59636e }}
.hit {{ fill: #1a7f64 }} .miss {{ fill: #c4501b }} .target {{ stroke: #1f2328; stroke-width: 2 }} .spread {{ stroke: #1f2328 }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #f0f6fc }} .dim {{ fill: #9198a1 }} .grid {{ stroke: #3d444d }} .one {{ stroke: #9198a1 }}
.hit {{ fill: #3fb68b }} .miss {{ fill: #e8804c }} .target, .spread {{ stroke: #f0f6fc }}
}}
</style>
<text x="{LEFT}" y="18">Nightfill's server against nginx, in one run on one core: ratio, spread, target</text>"##
    )?;
    for tenth in [0_u8, 5, 10, 15, 20] {
        let at = f64::from(tenth) / 10.0;
        let class = if tenth == 10 { "one" } else { "grid" };
        writeln!(
            out,
            r#"<line class="{class}" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/><text class="dim" x="{x}" y="{below}" text-anchor="middle">{at}</text>"#,
            x = x(at),
            bottom = height - 24.0,
            below = height - 8.0
        )?;
    }
    for (row, result) in ratios.iter().enumerate() {
        draw_row(result, TOP + ROW * row as f64 + ROW / 2.0, out)?;
    }
    writeln!(out, "</svg>")
}

fn draw_row(result: &CaseResult, middle: f64, out: &mut String) -> fmt::Result {
    let class = if result.hit { "hit" } else { "miss" };
    let better = match result.target.better {
        Better::Lower => "less is better",
        Better::Higher => "more is better",
    };
    let beyond = if result.judged.mean > LONGEST { " →" } else { "" };
    writeln!(
        out,
        r#"<text x="{name}" y="{text}" text-anchor="end">{case}</text>
<rect class="{class}" x="{LEFT}" y="{top}" width="{width}" height="{BAR}" rx="2"><title>{title}</title></rect>
<line class="spread" x1="{min}" x2="{max}" y1="{middle}" y2="{middle}"/>
<line class="target" x1="{target}" x2="{target}" y1="{from}" y2="{to}"/>
<text x="{figure}" y="{text}">{mean}{beyond} <tspan class="dim">{better}</tspan></text>"#,
        name = LEFT - 10.0,
        text = middle + 4.5,
        case = result.case,
        top = middle - BAR / 2.0,
        width = x(result.judged.mean) - LEFT,
        title = result.title,
        min = x(result.judged.min),
        max = x(result.judged.max),
        target = x(result.target.limit),
        from = middle - 10.0,
        to = middle + 10.0,
        figure = WIDTH - RIGHT + 14.0,
        mean = short(result.judged.mean),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Target;

    #[test]
    fn the_chart_has_a_bar_a_ratio() {
        let results = [
            CaseResult::new("h1-4m", "plain", "CPU s/GB", &[0.96], Target::at_most(1.0)),
            CaseResult::new("mem-slow", "growth", "MiB", &[50.0], Target::at_most(128.0)).judged_as("MiB"),
        ];
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.svg");
        write(&results, &file).unwrap();
        let svg = fs::read_to_string(file).unwrap();
        assert_eq!(svg.matches("<rect").count(), 1, "{svg}");
        assert!(svg.contains("prefers-color-scheme: dark") && svg.trim_end().ends_with("</svg>"));
    }
}
