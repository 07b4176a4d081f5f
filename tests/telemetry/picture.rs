//! The dashboard as a picture (SVG), drawn from the answers of Prometheus to its queries.
//!
//! It has the panels of Grafana, in their places, but is not drawn by Grafana.

use std::fmt::Write as _;

use serde_json::Value;

/// Width of a column of the dashboard, which has 24.
const COLUMN: f64 = 52.0;
/// Height of a unit of the dashboard.
const UNIT: f64 = 26.0;
/// Distance between the edge of a panel and its contents.
const MARGIN: f64 = 12.0;
const COLORS: [&str; 6] = ["#3274d9", "#56a64b", "#e0752d", "#a352cc", "#c4162a", "#8f8f8f"];
/// Distance between two values of a series, in seconds.
pub const STEP: f64 = 2.0;

/// A line of a panel: its name, and its values by time in seconds.
pub type Series = (String, Vec<(f64, f64)>);

/// Returns the name of a series as Grafana would write it. `format` is the legend of the dashboard.
pub fn name_of(format: &str, labels: &Value) -> String {
    let mut name = format.to_owned();
    for (label, value) in labels.as_object().into_iter().flatten() {
        name = name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or_default());
    }
    name
}

/// Draws panels, each with its series. `note` is written below.
pub fn draw(panels: &[(Value, Vec<Series>)], note: &str) -> String {
    let number = |panel: &Value, name: &str| panel["gridPos"][name].as_f64().expect("a number");
    let bottom = |panel: &Value| number(panel, "y") + number(panel, "h");
    let height = panels.iter().map(|(panel, _)| bottom(panel)).fold(0.0, f64::max) * UNIT + 30.0;
    let width = 24.0 * COLUMN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"#24292e\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#f4f5f5\"/>\n"
    );
    for (panel, series) in panels {
        let title = panel["title"].as_str().expect("a title");
        let [x, y, w, h] = ["x", "y", "w", "h"]
            .map(|name| number(panel, name) * if "xw".contains(name) { COLUMN } else { UNIT });
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        match panel["type"].as_str() {
            Some("row") => text(&mut svg, x + 8.0, y + 18.0, "font-size=\"14\" font-weight=\"600\"", title),
            kind => {
                let (inner_w, inner_h) = (w - 6.0, h - 6.0);
                let _ = writeln!(
                    svg,
                    "<svg x=\"{:.1}\" y=\"{:.1}\" width=\"{inner_w:.1}\" height=\"{inner_h:.1}\">\
                     <rect width=\"100%\" height=\"100%\" rx=\"3\" fill=\"#fff\" stroke=\"#dcdee1\"/>",
                    x + 3.0,
                    y + 3.0
                );
                text(&mut svg, MARGIN, 18.0, "font-weight=\"600\"", title);
                match kind {
                    Some("stat") => stat(&mut svg, panel, series, unit, inner_w, inner_h),
                    _ => lines(&mut svg, series, unit, inner_w, inner_h),
                }
                svg += "</svg>\n";
            }
        }
    }
    text(&mut svg, 8.0, height - 10.0, "fill=\"#6e7177\"", note);
    svg + "</svg>\n"
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>");
}

/// Draws the last value of the first series in large letters, or its name.
fn stat(svg: &mut String, panel: &Value, series: &[Series], unit: &str, w: f64, h: f64) {
    let last = series.first().and_then(|(name, values)| {
        let (_, value) = values.last()?;
        Some(if panel["options"]["textMode"] == "name" { name.clone() } else { shown(*value, unit) })
    });
    let style = "font-size=\"26\" font-weight=\"600\" text-anchor=\"middle\" fill=\"#3274d9\"";
    text(svg, w / 2.0, h / 2.0 + 16.0, style, &last.unwrap_or_else(|| "no data".to_owned()));
}

/// Draws the series over time, with an axis, and names the largest ones.
fn lines(svg: &mut String, series: &[Series], unit: &str, w: f64, h: f64) {
    let values = || series.iter().flat_map(|(_, values)| values);
    let most = values().map(|(_, value)| *value).fold(0.0, f64::max);
    let most = if most > 0.0 { most * 1.1 } else { 1.0 };
    let first = values().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
    let last = values().map(|(at, _)| *at).fold(first + 1.0, f64::max);
    let (left, right, top, bottom) = (58.0, w - MARGIN, 30.0, h - 30.0);
    for part in [0.0, 0.5, 1.0] {
        let y = bottom - (bottom - top) * part;
        let _ = writeln!(svg, "<path d=\"M{left} {y:.1}H{right:.1}\" stroke=\"#e9ebee\"/>");
        text(svg, left - 6.0, y + 4.0, "text-anchor=\"end\" fill=\"#6e7177\"", &shown(most * part, unit));
    }
    for ((_, values), color) in series.iter().zip(COLORS.iter().cycle()) {
        let mut points = String::new();
        let mut before = f64::NEG_INFINITY;
        for (at, value) in values.iter().filter(|(_, value)| value.is_finite()) {
            let x = left + (right - left) * (at - first) / (last - first);
            let y = bottom - (bottom - top) * value / most;
            // A series that is missing for a while is not drawn there.
            let step = if at - before > 1.5 * STEP { 'M' } else { 'L' };
            let _ = write!(points, "{step}{x:.0} {y:.1}");
            before = *at;
        }
        let _ = writeln!(svg, "<path d=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>");
    }
    let mut named: Vec<_> = series.iter().zip(COLORS.iter().cycle()).collect();
    let largest = |values: &[(f64, f64)]| values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    named.sort_by(|((_, one), _), ((_, other), _)| largest(other).total_cmp(&largest(one)));
    let mut x = MARGIN;
    for ((name, _), color) in named {
        let length = 14.0 + name.chars().count() as f64 * 5.6;
        if x > MARGIN && x + length > right {
            break;
        }
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"3\" fill=\"{color}\"/>",
            h - 14.0
        );
        text(svg, x + 14.0, h - 9.0, "font-size=\"10\"", name);
        x += length + 10.0;
    }
}

/// Returns a value with its unit, in three figures.
fn shown(value: f64, unit: &str) -> String {
    let (value, suffix) = match unit {
        "percentunit" => (value * 100.0, " %"),
        "s" if value > 0.0 && value < 1.0 => (value * 1e3, " ms"),
        "s" if value >= 7_200.0 => (value / 3_600.0, " h"),
        "s" if value >= 120.0 => (value / 60.0, " min"),
        "s" => (value, " s"),
        "bytes" => (value / 1_048_576.0, " MiB"),
        "ops" | "reqps" => (value, "/s"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        large if large >= 100.0 || large.fract() == 0.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{suffix}")
}
