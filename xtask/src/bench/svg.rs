//! A plot of one metric: a bar for each contender up to its median, a whisker from minimum to maximum.
//!
//! Goes in: a [`Metric`]. Comes out: a whole SVG document that is readable on light and dark pages. Pure.

use super::measure::{Metric, SUBJECT};
use super::report::number_text;

const WIDTH: f64 = 640.0;
const LABELS: f64 = 96.0;
const VALUES: f64 = 96.0;
const ROW: f64 = 30.0;
const HEAD: f64 = 34.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.head{font-weight:600}.other{fill:#8c959f}.ours{fill:#1a7f64}\
.whisker{stroke:#1f2328;stroke-width:1.5;fill:none}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.other{fill:#6e7681}.ours{fill:#3fb68b}.whisker{stroke:#e6edf3}}";

/// The document.
pub fn bars(metric: &Metric) -> String {
    let rows: Vec<_> =
        metric.contenders.iter().filter_map(|c| Some((c.name.as_str(), metric.spread(&c.name)?))).collect();
    let most = rows.iter().map(|(_, spread)| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let room = WIDTH - LABELS - VALUES;
    let x = |value: f64| LABELS + (value / most).clamp(0.0, 1.0) * room;
    let height = HEAD + ROW * rows.len() as f64 + 8.0;
    let title = escape(&format!("{}: {}, {}", metric.scenario, metric.name, metric.unit));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" role=\"img\" \
         aria-label=\"{title}\">\n<style>{STYLE}</style>\n<text class=\"head\" x=\"8\" y=\"20\">{title}</text>\n"
    );
    for (number, (name, spread)) in rows.iter().enumerate() {
        let top = HEAD + ROW * number as f64;
        let middle = top + ROW / 2.0;
        let class = if *name == SUBJECT { "ours" } else { "other" };
        let (low, high) = (x(spread.min), x(spread.max));
        text += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LABELS - 8.0,
            middle + 4.5,
            escape(name)
        );
        text += &format!(
            "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"18\" rx=\"2\"/>\n",
            middle - 9.0,
            x(spread.median) - LABELS
        );
        text += &format!(
            "<path class=\"whisker\" d=\"M{low:.1} {0:.1}V{1:.1}M{low:.1} {middle:.1}H{high:.1}M{high:.1} {0:.1}V{1:.1}\"/>\n",
            middle - 5.0,
            middle + 5.0
        );
        text +=
            &format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n", high + 8.0, middle + 4.5, number_text(spread.median));
    }
    text + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
