//! gym-pusht's picture: goal, walls, agent and block, without the marker of the action.

use armilla_core::Image;
use armilla_core::random::stream;
use rand::RngExt as _;

use super::shape::{BARS, GOAL, Point, Pose};
use super::world::{AGENT_RADIUS_PX, WALL_HIGH_PX, WALL_LOW_PX, WALL_RADIUS_PX, WORLD_PX};
use crate::draw::{Canvas, Form, Rgb, pale, vivid};
use crate::variation::Variation;

/// What the parts look like. The insides are 1.2 times as bright as the outlines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    floor: Rgb,
    goal: Rgb,
    wall: Rgb,
    agent: Rgb,
    block: Rgb,
    form: Form,
    pub(super) agent_radius_px: f32,
}

/// gym-pusht's look: `LightGreen`, `LightGray`, `RoyalBlue` and `LightSlateGray` on white.
const RECORDED: Look = Look {
    floor: [255; 3],
    goal: [144, 238, 144],
    wall: [211; 3],
    agent: [65, 105, 225],
    block: [119, 136, 153],
    form: Form::Disc,
    agent_radius_px: AGENT_RADIUS_PX,
};
/// The agent's radius with [`Variation::Sizes`].
const VARIED_RADII_PX: [f32; 2] = [10.0, 21.0];

impl Look {
    /// The look of a seed, as recorded but for what varies.
    pub(super) fn of(seed: u64, variation: Option<Variation>) -> Self {
        let mut generator = stream(seed, "push-t/variation", 0);
        match variation {
            None => RECORDED,
            Some(Variation::Colors) => Self {
                floor: std::array::from_fn(|_| generator.random_range(100..=160)),
                // Magenta to pink, red to yellow, and nearly black, where recordings have green, blue and grey.
                goal: pale(generator.random_range(4.5..5.5)),
                agent: vivid(generator.random_range(0.0..1.0)),
                wall: [generator.random_range(0..=50); 3],
                block: std::array::from_fn(|_| generator.random_range(0..=50)),
                ..RECORDED
            },
            Some(Variation::Sizes) => Self {
                agent_radius_px: VARIED_RADII_PX[generator.random_range(0..2)],
                ..RECORDED
            },
            Some(Variation::Shapes) => Self {
                form: Form::OTHERS[generator.random_range(0..3)],
                ..RECORDED
            },
        }
    }
}

/// Half the thickness of the block's outline, and thickness of the agent's.
const OUTLINE_PX: f32 = 2.0;
const AGENT_OUTLINE_PX: f32 = 4.0;

/// The picture of an agent and a block.
pub(super) fn draw(look: &Look, agent: Point, block: Pose, image_size: usize) -> Image {
    let mut canvas = Canvas::new(image_size, WORLD_PX, look.floor);
    // One outline: the seam of two bars would shimmer through.
    let [top, stem] = BARS;
    let outline = [
        top[0], top[1], top[2], stem[1], stem[2], stem[3], stem[0], top[3],
    ];
    canvas.polygon_at(&outline, GOAL.position, GOAL.angle_rad, look.goal);
    let (outer, inner) = (WALL_LOW_PX - WALL_RADIUS_PX, WALL_HIGH_PX + WALL_RADIUS_PX);
    for axis in 0..2 {
        for middle in [WALL_LOW_PX, WALL_HIGH_PX] {
            let (mut low, mut high) = ([outer; 2], [inner; 2]);
            (low[axis], high[axis]) = (middle - WALL_RADIUS_PX, middle + WALL_RADIUS_PX);
            canvas.rectangle(low, high, look.wall);
        }
    }
    let radius = look.agent_radius_px;
    canvas.form(look.form, agent, radius, look.agent);
    let inside = radius - AGENT_OUTLINE_PX;
    canvas.form(look.form, agent, inside, brighter(look.agent));
    for bar in BARS {
        for (margin, color) in [
            (OUTLINE_PX, look.block),
            (-OUTLINE_PX, brighter(look.block)),
        ] {
            canvas.polygon_at(&grown(bar, margin), block.position, block.angle_rad, color);
        }
    }
    canvas.into_image()
}

fn brighter(color: Rgb) -> Rgb {
    color.map(|value| (u16::from(value) * 6 / 5).min(255) as u8)
}

/// A bar with every side moved outwards.
fn grown(bar: [Point; 4], margin: f32) -> [Point; 4] {
    let middle: Point = std::array::from_fn(|i| (bar[0][i] + bar[2][i]) / 2.0);
    bar.map(|corner| {
        std::array::from_fn(|i| corner[i] + margin.copysign(margin * (corner[i] - middle[i])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_where() {
        let block = Pose {
            position: [400.0, 80.0],
            angle_rad: 0.0,
        };
        let image = draw(&RECORDED, [100.0, 400.0], block, 512);
        assert_eq!(image.pixel(5, 250), RECORDED.wall);
        assert_eq!(image.pixel(400, 100), [78, 126, 255]);
        assert_eq!(image.pixel(400, 87), RECORDED.agent);
        assert_eq!(image.pixel(95, 350), [142, 163, 183]);
        assert_eq!(image.pixel(81, 350), RECORDED.block);
        assert_eq!(image.pixel(150, 400), [142, 163, 183]);
        let goal = GOAL.to_world([0.0, 60.0]).map(|v| v as usize);
        assert_eq!(image.pixel(goal[1], goal[0]), RECORDED.goal);
        assert_eq!(image.pixel(300, 300), RECORDED.floor);
    }

    #[test]
    fn a_bar_grows_on_every_side() {
        assert_eq!(
            grown(BARS[1], 2.0),
            [[-17.0, 28.0], [17.0, 28.0], [17.0, 122.0], [-17.0, 122.0]]
        );
        assert_eq!(
            grown(BARS[1], -2.0),
            [[-13.0, 32.0], [13.0, 32.0], [13.0, 118.0], [-13.0, 118.0]]
        );
    }

    #[test]
    fn varied_looks_are_away_from_the_recorded_one() {
        let apart = |a: Rgb, b: Rgb| {
            let squares = a
                .iter()
                .zip(b)
                .map(|(&a, b)| (f32::from(a) - f32::from(b)).powi(2));
            squares.sum::<f32>().sqrt()
        };
        let colors = |look: &Look| [look.floor, look.goal, look.wall, look.agent, look.block];
        for seed in 0..300 {
            assert_eq!(Look::of(seed, None), RECORDED);
            let varied = Look::of(seed, Some(Variation::Colors));
            for (part, recorded) in colors(&varied).into_iter().zip(colors(&RECORDED)) {
                assert!(apart(part, recorded) > 70.0, "{varied:?}");
            }
            // What moves is still seen on the floor and on the goal.
            for part in [varied.agent, varied.block] {
                assert!(apart(part, varied.floor) > 70.0 && apart(part, varied.goal) > 70.0);
            }
            let sizes = Look::of(seed, Some(Variation::Sizes));
            assert!((sizes.agent_radius_px - AGENT_RADIUS_PX).abs() >= 5.0);
            assert_ne!(Look::of(seed, Some(Variation::Shapes)).form, Form::Disc);
        }
    }
}
