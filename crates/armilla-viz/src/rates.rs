//! Success rates with their intervals as bars in Rerun, drawn in the plane: its own bar charts have neither names nor intervals.

use re_sdk_types::archetypes::{LineStrips2D, Points2D};
use re_sdk_types::components::Radius;

use crate::error::Result;
use crate::recording::Log;
use crate::report::{ResultRow, Role, percent, share};

/// From one bar to the next; a percent is 1.
const PITCH: f64 = 8.0;
/// Middle of the names, left of the bars.
const NAMES: f64 = -32.0;
/// Middle of the numbers, right of them.
const NUMBERS: f64 = 128.0;
/// A label hangs below its point; so much higher it stands beside its bar.
const LABEL_RISE: f64 = 0.45 * PITCH;

const POLICY_COLOR: u32 = 0x3b_82_f6_ff;
const PART_COLOR: u32 = 0x6b_8f_c9_ff;
const FLOOR_COLOR: u32 = 0x8a_8a_8a_ff;
const INTERVAL_COLOR: u32 = 0xff_ff_ff_ff;
const TARGET_COLOR: u32 = 0xf9_73_16_ff;
const GRID_COLOR: u32 = 0x60_60_60_a0;

/// Logs the bars of an evaluation below an entity.
pub(crate) fn log(log: &Log, origin: &str, row: &ResultRow) -> Result<()> {
    let rates = row.rates();
    let lines = || {
        (0..)
            .zip(&rates)
            .map(|(line, rate)| (PITCH * f64::from(line), rate))
    };
    let colors: Vec<_> = rates.iter().map(|(role, ..)| color(*role)).collect();
    let bottom = PITCH * (rates.len() as f64 - 0.5);
    let upright = |x: f64, end: f64| segment([x, -PITCH / 2.0], [x, end]);

    let grid = [0.0, 25.0, 50.0, 75.0, 100.0].map(|x| upright(x, bottom));
    let bars = lines().map(|(y, (_, _, rate))| segment([0.0, y], [share(rate.value), y]));
    let intervals =
        lines().map(|(y, (_, _, rate))| segment([share(rate.low), y], [share(rate.high), y]));
    // The target is the policy's, which is the first.
    let target = row.target.map(|target| upright(share(target), PITCH / 2.0));
    let strips = [
        ("grid", strips(grid, &[GRID_COLOR], 0.5)),
        ("bars", strips(bars, &colors, 5.0)),
        ("intervals", strips(intervals, &[INTERVAL_COLOR], 1.5)),
        ("target", strips(target, &[TARGET_COLOR], 1.5)),
    ];
    for (order, (name, strips)) in (0_u8..).zip(strips) {
        let strips = strips.with_draw_order(f32::from(order));
        log.constant(&format!("{origin}/{name}"), &strips)?;
    }

    let names = lines().map(|(y, (_, name, _))| (NAMES, y, (*name).to_owned()));
    let numbers = lines().map(|(y, (_, _, rate))| {
        let number = format!("{} % [{}]", percent(rate.value), rate.interval());
        (NUMBERS, y, number)
    });
    let (points, labels): (Vec<_>, Vec<_>) = names
        .chain(numbers)
        .map(|(x, y, label)| (point([x, y - LABEL_RISE]), label))
        .unzip();
    let labels = Points2D::new(points)
        .with_labels(labels)
        .with_show_labels(true)
        .with_colors([colors.as_slice(), &colors].concat())
        .with_radii([Radius::new_ui_points(0.0)]);
    log.constant(&format!("{origin}/labels"), &labels)
}

fn color(role: Role) -> u32 {
    match role {
        Role::Policy => POLICY_COLOR,
        Role::Part => PART_COLOR,
        Role::Floor => FLOOR_COLOR,
    }
}

fn strips(
    segments: impl IntoIterator<Item = [[f32; 2]; 2]>,
    colors: &[u32],
    radius: f32,
) -> LineStrips2D {
    LineStrips2D::new(segments)
        .with_colors(colors.iter().copied())
        .with_radii([Radius::new_ui_points(radius)])
}

fn segment(from: [f64; 2], to: [f64; 2]) -> [[f32; 2]; 2] {
    [point(from), point(to)]
}

fn point(place: [f64; 2]) -> [f32; 2] {
    place.map(|coordinate| coordinate as f32)
}
