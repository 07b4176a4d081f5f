//! Line charts of costs by size, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
/// Colors of the lines, from Okabe and Ito's palette for color-blind readers.
const COLORS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];

/// A line: its name, and the cost measured at each size.
pub struct Line {
    /// Name of the line, shown next to the chart.
    pub name: &'static str,
    /// Pairs of size and cost.
    pub points: Vec<(f64, f64)>,
}

/// Draws these lines. The size axis is logarithmic; the cost axis starts at zero.
pub fn plot(title: &str, sizes: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let least = points().map(|point| point.0.log10()).fold(f64::INFINITY, f64::min).floor();
    let most = points().map(|point| point.0.log10()).fold(least, f64::max).ceil().max(least + 1.0);
    let highest = nice(points().map(|point| point.1).fold(0.0, f64::max) * 1.05);
    let x = |size: f64| LEFT + (size.log10() - least) / (most - least) * (WIDTH - LEFT - RIGHT);
    let y = |cost: f64| HEIGHT - BOTTOM - cost / highest * (HEIGHT - TOP - BOTTOM);
    let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    for step in 0..=4 {
        let cost = highest * f64::from(step) / 4.0;
        let at = y(cost);
        add(&mut svg, format_args!("<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>"));
        let place = format!("x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\"", LEFT - 6.0, at + 4.0);
        add(&mut svg, format_args!("<text {place}>{}</text>", short(cost)));
    }
    for power in least as i32..=most as i32 {
        let at = x(10f64.powi(power));
        add(&mut svg, format_args!("<path d=\"M{at:.1} {TOP}V{floor}\" stroke=\"#eee\"/>"));
        let place = format!("x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\"", floor + 16.0);
        add(&mut svg, format_args!("<text {place}>{}</text>", short(10f64.powi(power))));
    }
    let middle = (LEFT + right) / 2.0;
    let place = format!("x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\"", HEIGHT - 8.0);
    add(&mut svg, format_args!("<text {place}>{sizes}</text>"));
    for (place, (line, color)) in lines.iter().zip(COLORS.iter().cycle()).enumerate() {
        let path: Vec<_> =
            line.points.iter().map(|(size, cost)| format!("{:.1} {:.1}", x(*size), y(*cost))).collect();
        add(
            &mut svg,
            format_args!(
                "<path d=\"M{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
                path.join("L")
            ),
        );
        for (size, cost) in &line.points {
            let at = format!("cx=\"{:.1}\" cy=\"{:.1}\"", x(*size), y(*cost));
            add(&mut svg, format_args!("<circle {at} r=\"3\" fill=\"{color}\"/>"));
        }
        let (at, down) = (right + 14.0, TOP + 10.0 + 18.0 * place as f64);
        add(
            &mut svg,
            format_args!("<text x=\"{at:.1}\" y=\"{down:.1}\" fill=\"{color}\">{}</text>", line.name),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn add(svg: &mut String, element: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(svg, "{element}");
}

/// Rounds up to 1, 2, 4 or 8 times a power of ten.
fn nice(number: f64) -> f64 {
    let power = 10f64.powf(number.log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0]
        .map(|step| step * power)
        .into_iter()
        .find(|step| *step >= number)
        .unwrap_or(number)
}

fn short(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        1e6.. => format!("{}M", number / 1e6),
        1e3.. => format!("{}k", number / 1e3),
        1.0.. => format!("{number}"),
        _ => format!("{number:.3}").trim_end_matches('0').to_owned(),
    }
}
