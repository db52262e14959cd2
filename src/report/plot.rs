//! Events over time, drawn: as an SVG element for HTML, as bars of text for Markdown.
//!
//! Its promise: pure; only numbers and times come into it. Colours are classes, which the page's style sheet fills for
//! light, dark and paper; what is more than nothing can be seen.

use std::fmt::Write as _;

use super::page::{Plot, grouped};
use super::series::{Counts, DAY, OUTCOMES, Series};

const WIDTH: u64 = 760;
const HEIGHT: u64 = 250;
/// Room around the plot, for the axes' labels.
const LEFT: u64 = 58;
const RIGHT: u64 = 8;
const TOP: u64 = 26;
const BOTTOM: u64 = 44;

/// Labels on the axis of time at most.
const LABELS: usize = 8;

/// Letters of the longest bar of text.
const BAR: u64 = 48;

/// What the bars of text are made of, in the order of the outcomes.
const BLOCKS: [char; OUTCOMES.len()] = ['█', '▒', '░', '·'];

pub(super) fn draw(series: &Series) -> Plot {
    Plot { svg: svg(series), lines: lines(series) }
}

fn svg(series: &Series) -> String {
    let steps: Vec<_> = series.steps().collect();
    let most = steps.iter().map(|(_, counts)| counts.iter().sum()).max().unwrap_or(0);
    let tick = tick(most);
    let top = most.div_ceil(tick).max(1) * tick;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="plot-title plot-text" class="plot">
<title id="plot-title">Events by outcome, each {}</title>
<desc id="plot-text">Stacked bars; the most in one of them are {} events. The table below has the numbers.</desc>"#,
        series.step_in_words(),
        grouped(most),
    );
    legend(&mut svg);
    scale(&mut svg, tick, top);
    bars(&mut svg, &steps, top);
    times(&mut svg, &steps, series.step());
    svg.push_str("</svg>");
    svg
}

/// One, two or five times a power of ten: so that there are four or five lines.
fn tick(most: u64) -> u64 {
    let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
    powers
        .flat_map(|power| [1, 2, 5].map(|times| power.saturating_mul(times)))
        .find(|tick| most / tick < 5)
        .unwrap_or(1)
}

fn legend(svg: &mut String) {
    for (at, outcome) in (0..).zip(OUTCOMES) {
        let x = LEFT + at * 92;
        let _ = writeln!(
            svg,
            r#"<rect class="{outcome}" x="{x}" y="4" width="10" height="10" rx="2"/><text class="legend" x="{}" y="13">{outcome}</text>"#,
            x + 15
        );
    }
}

fn scale(svg: &mut String, tick: u64, top: u64) {
    for at in 0..=top / tick {
        let y = HEIGHT - BOTTOM - at * tick * (HEIGHT - TOP - BOTTOM) / top;
        let _ = writeln!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{}" y1="{y}" y2="{y}"/><text class="axis count" x="{}" y="{}">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 8,
            y + 4,
            grouped(at * tick),
        );
    }
}

fn bars(svg: &mut String, steps: &[(String, &Counts)], top: u64) {
    // In tenths, so that whole numbers are enough.
    let room = (WIDTH - LEFT - RIGHT) * 10;
    let steps_count = steps.len().max(1) as u64;
    for (at, (label, counts)) in (0..).zip(steps) {
        if counts.iter().sum::<u64>() == 0 {
            continue;
        }
        let (x, end) = (LEFT * 10 + at * room / steps_count, LEFT * 10 + (at + 1) * room / steps_count);
        let width = (end - x).saturating_sub(((end - x) / 6).min(40)).max(5);
        let _ = writeln!(svg, "<g><title>{label}: {}</title>", told(counts));
        let mut y = (HEIGHT - BOTTOM) * 10;
        for (outcome, count) in OUTCOMES.iter().zip(*counts) {
            if *count == 0 {
                continue;
            }
            // What is few is seen among many.
            let exact = u128::from(*count) * u128::from((HEIGHT - TOP - BOTTOM) * 10) / u128::from(top);
            let height = u64::try_from(exact).unwrap_or(0).max(12);
            y = y.saturating_sub(height);
            let _ = writeln!(
                svg,
                r#"<rect class="{outcome}" x="{}" y="{}" width="{}" height="{}"/>"#,
                tenths(x),
                tenths(y),
                tenths(width),
                tenths(height)
            );
        }
        svg.push_str("</g>\n");
    }
}

/// What the axes count in, and the labels of the axis of time.
fn times(svg: &mut String, steps: &[(String, &Counts)], step: i64) {
    let every = steps.len().div_ceil(LABELS).max(1);
    let room = WIDTH - LEFT - RIGHT;
    let mut day_before = String::new();
    let _ = writeln!(
        svg,
        r#"<text class="axis count" x="{0}" y="{1}">UTC</text><text class="axis count" x="{0}" y="13">events</text>"#,
        LEFT - 8,
        HEIGHT - BOTTOM + 19,
    );
    for (at, (label, _)) in (0_u64..).zip(steps).step_by(every) {
        let x = LEFT + at * room / steps.len().max(1) as u64;
        let (day, hour) = label.split_once(' ').unwrap_or((label, ""));
        let _ = write!(
            svg,
            r#"<line class="tick" x1="{x}" x2="{x}" y1="{}" y2="{}"/>"#,
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 5
        );
        // The day stands once; the hour at each.
        let (first, second) = if step % DAY == 0 { (day, "") } else { (hour, day) };
        let second = if day == day_before { "" } else { second };
        for (text, below) in [(first, 19), (second, 34)] {
            if !text.is_empty() {
                let _ = write!(svg, r#"<text class="axis" x="{x}" y="{}">{text}</text>"#, HEIGHT - BOTTOM + below);
            }
        }
        day.clone_into(&mut day_before);
        svg.push('\n');
    }
}

fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

/// `3 success, 1 failure`.
fn told(counts: &Counts) -> String {
    let parts = OUTCOMES.iter().zip(counts).filter(|(_, count)| **count > 0);
    parts.map(|(outcome, count)| format!("{} {outcome}", grouped(*count))).collect::<Vec<_>>().join(", ")
}

fn lines(series: &Series) -> Vec<String> {
    let most = series.steps().map(|(_, counts)| counts.iter().sum::<u64>()).max().unwrap_or(0).max(1);
    let legend = OUTCOMES.iter().zip(BLOCKS).map(|(outcome, block)| format!("{block} {outcome}"));
    let mut lines = vec![legend.collect::<Vec<_>>().join("   ")];
    for (label, counts) in series.steps() {
        let bar: String = BLOCKS
            .iter()
            .zip(counts)
            .flat_map(|(block, count)| std::iter::repeat_n(*block, letters(*count, most)))
            .collect();
        let told = told(counts);
        lines.push(format!("{label}  {bar}{}{told}", if bar.is_empty() { "" } else { "  " }).trim_end().to_owned());
    }
    lines
}

/// What is more than nothing has one letter at least.
fn letters(count: u64, most: u64) -> usize {
    let exact = u128::from(count) * u128::from(BAR) / u128::from(most);
    usize::try_from(exact).unwrap_or(0).max(usize::from(count > 0))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::report::Span;

    fn series(counts: &[(i64, usize, usize)]) -> Series {
        let at = |second| jiff::Timestamp::from_second(1_795_244_400 + second).unwrap();
        let mut series = Series::new(&Span { since: at(0), until: at(600) });
        for (second, outcome, times) in counts {
            (0..*times).for_each(|_| series.add(at(*second), *outcome));
        }
        series
    }

    #[test]
    fn lines_lie_at_round_numbers() {
        for (most, expected) in [(0, 1), (4, 1), (5, 2), (9, 2), (10, 5), (25, 10), (99, 20), (1_234_567, 500_000)] {
            assert_eq!(tick(most), expected, "{most}");
        }
        assert!(tick(u64::MAX) > 0);
    }

    #[test]
    fn few_are_seen_among_many() {
        let plot = draw(&series(&[(0, 0, 100_000), (0, 1, 1), (300, 3, 2)]));
        assert!(plot.lines[1].contains("█▒  100,000 success, 1 failure"), "{:?}", plot.lines);
        assert!(plot.svg.contains(r#"<rect class="failure" "#) && plot.svg.contains(r#"height="1.2""#), "{}", plot.svg);
        assert!(plot.svg.contains("2 unknown</title>"), "{}", plot.svg);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let plot = draw(&series(&[]));
        assert_eq!((plot.svg.matches("<g>").count(), plot.lines.len()), (0, 11));
    }
}
