//! The comparison as a drawing: one line a policy, in SVG that needs nothing else.

use std::fmt::Write;

/// What a policy came to under one load.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// A multiple of the capacity.
    pub load: f64,
    /// Met, of everything offered.
    pub met_percent: f64,
    /// Met, of what was let in.
    pub kept_percent: f64,
}

/// A policy over all loads.
#[derive(Debug)]
pub struct Line {
    pub name: &'static str,
    pub points: Vec<Point>,
}

/// Colours that are told apart with any kind of sight (Okabe and Ito 2008), and the mark of each.
const STYLES: [(&str, Mark); 7] = [
    ("#0072B2", Mark::Dot),
    ("#D55E00", Mark::Square),
    ("#E69F00", Mark::Diamond),
    ("#000000", Mark::Cross),
    ("#009E73", Mark::Triangle),
    ("#56B4E9", Mark::Square),
    ("#CC79A7", Mark::Diamond),
];

#[derive(Debug, Clone, Copy)]
enum Mark {
    Dot,
    Square,
    Diamond,
    Triangle,
    Cross,
}

const WIDTH: f64 = 980.0;
const HEIGHT: f64 = 470.0;
/// Of a panel's axes.
const PANEL: (f64, f64) = (390.0, 280.0);
const TOP: f64 = 66.0;
const LEFT: [f64; 2] = [70.0, 565.0];
const LEGEND_TOP: f64 = TOP + PANEL.1 + 68.0;
const LEGEND_COLUMNS: usize = 4;

/// A panel: where it stands, what it says.
struct Panel {
    left: f64,
    title: &'static str,
    value: fn(&Point) -> f64,
}

const PANELS: [Panel; 2] = [
    Panel { left: LEFT[0], title: "met, of all that is offered", value: |p| p.met_percent },
    Panel { left: LEFT[1], title: "met, of what is let in", value: |p| p.kept_percent },
];

/// The drawing.
pub fn svg(lines: &[Line]) -> String {
    let mut svg = String::new();
    head(&mut svg);
    let loads: Vec<f64> =
        lines.first().map_or(Vec::new(), |l| l.points.iter().map(|p| p.load).collect());
    for panel in &PANELS {
        axes(&mut svg, panel, &loads);
        // slmd's line comes first: it is drawn last, above the others.
        for (index, line) in lines.iter().enumerate().rev() {
            draw(&mut svg, panel, line, index, &loads);
        }
    }
    legend(&mut svg, lines);
    svg.push_str("</svg>\n");
    svg
}

fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a string takes everything");
    svg.push('\n');
}

fn head(svg: &mut String) {
    put(
        svg,
        format_args!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="DejaVu Sans, Verdana, Arial, sans-serif" font-size="13" fill="#222">
<title>Requests met by their deadlines, by scheduling policy and load</title>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
<text x="{}" y="26" font-size="16" font-weight="bold" text-anchor="middle">Requests met by their deadlines, in per cent</text>"##,
            WIDTH / 2.0
        ),
    );
}

/// Loads on a logarithmic scale.
fn x(panel: &Panel, loads: &[f64], load: f64) -> f64 {
    let (low, high) = (loads[0].ln(), loads[loads.len() - 1].ln());
    let share = if high > low { (load.ln() - low) / (high - low) } else { 0.5 };
    panel.left + share * PANEL.0
}

fn y(percent: f64) -> f64 {
    TOP + PANEL.1 * (1.0 - percent / 100.0)
}

fn axes(svg: &mut String, panel: &Panel, loads: &[f64]) {
    let (left, right, bottom) = (panel.left, panel.left + PANEL.0, TOP + PANEL.1);
    let middle = left + PANEL.0 / 2.0;
    for percent in (0..=100).step_by(20) {
        let at = y(f64::from(percent));
        put(
            svg,
            format_args!(
                r##"<path d="M{left} {at:.1}H{right}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{percent}</text>"##,
                left - 10.0,
                at + 4.5
            ),
        );
    }
    for &load in loads {
        let at = x(panel, loads, load);
        put(
            svg,
            format_args!(
                r##"<path d="M{at:.1} {TOP}V{}" stroke="#ddd"/><text x="{at:.1}" y="{}" text-anchor="middle">{load}</text>"##,
                bottom + 5.0,
                bottom + 22.0
            ),
        );
    }
    put(
        svg,
        format_args!(
            r##"<path d="M{left} {TOP}V{bottom}H{right}" fill="none" stroke="#222"/>
<text x="{middle}" y="{}" text-anchor="middle" font-weight="bold">{}</text>
<text x="{middle}" y="{}" text-anchor="middle">load, in multiples of the capacity</text>"##,
            TOP - 14.0,
            panel.title,
            bottom + 44.0
        ),
    );
}

fn draw(svg: &mut String, panel: &Panel, line: &Line, index: usize, loads: &[f64]) {
    let (colour, mark) = STYLES[index % STYLES.len()];
    let width = if index == 0 { 3.5 } else { 2.0 };
    let at = |p: &Point| (x(panel, loads, p.load), y((panel.value)(p)));
    let places: Vec<(f64, f64)> = line.points.iter().map(at).collect();
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    put(
        svg,
        format_args!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>"#,
            path.join(" ")
        ),
    );
    for place in places {
        draw_mark(svg, mark, colour, place);
    }
}

fn draw_mark(svg: &mut String, mark: Mark, colour: &str, (x, y): (f64, f64)) {
    let path = match mark {
        Mark::Dot => "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
        Mark::Square => "m-4 -4h8v8h-8z",
        Mark::Diamond => "m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
        Mark::Triangle => "m0 -5.5l5 9h-10z",
        Mark::Cross => "m-4.5 -4.5l9 9m0 -9l-9 9",
    };
    put(
        svg,
        format_args!(
            r#"<path d="M{x:.1} {y:.1}{path}" fill="{colour}" stroke="{colour}" stroke-width="1.5"/>"#
        ),
    );
}

fn legend(svg: &mut String, lines: &[Line]) {
    for (index, line) in lines.iter().enumerate() {
        let (colour, mark) = STYLES[index % STYLES.len()];
        let (column, row) = (index % LEGEND_COLUMNS, index / LEGEND_COLUMNS);
        let left = 40.0 + column as f64 * 238.0;
        let at = LEGEND_TOP + 10.0 + row as f64 * 26.0;
        let width = if index == 0 { 3.5 } else { 2.0 };
        put(
            svg,
            format_args!(r#"<path d="M{left} {at}h34" stroke="{colour}" stroke-width="{width}"/>"#),
        );
        draw_mark(svg, mark, colour, (left + 17.0, at));
        let weight = if index == 0 { r#" font-weight="bold""# } else { "" };
        put(
            svg,
            format_args!(
                r#"<text x="{}" y="{}"{weight}>{}</text>"#,
                left + 42.0,
                at + 4.5,
                line.name
            ),
        );
    }
}
