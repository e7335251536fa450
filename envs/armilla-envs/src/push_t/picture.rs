//! gym-pusht's picture: goal, walls, agent and block, without the marker of the action.

use armilla_core::Image;

use super::shape::{BARS, GOAL, Point, Pose};
use super::world::{AGENT_RADIUS_PX, WALL_HIGH_PX, WALL_LOW_PX, WALL_RADIUS_PX, WORLD_PX};
use crate::draw::{Canvas, Rgb};

const FLOOR: Rgb = [255; 3];
/// `LightGreen`, `LightGray`, `RoyalBlue` and `LightSlateGray`; the insides are 1.2 times as bright.
const GOAL_COLOR: Rgb = [144, 238, 144];
const WALL_COLOR: Rgb = [211; 3];
const AGENT_COLOR: Rgb = [65, 105, 225];
const AGENT_INSIDE: Rgb = [78, 126, 255];
const BLOCK_COLOR: Rgb = [119, 136, 153];
const BLOCK_INSIDE: Rgb = [142, 163, 183];
/// Half the thickness of the block's outline, and thickness of the agent's.
const OUTLINE_PX: f32 = 2.0;
const AGENT_OUTLINE_PX: f32 = 4.0;

/// The picture of an agent and a block.
pub(super) fn draw(agent: Point, block: Pose, image_size: usize) -> Image {
    let mut canvas = Canvas::new(image_size, WORLD_PX, FLOOR);
    // One outline: the seam of two bars would shimmer through.
    let [top, stem] = BARS;
    let outline = [
        top[0], top[1], top[2], stem[1], stem[2], stem[3], stem[0], top[3],
    ];
    canvas.polygon_at(&outline, GOAL.position, GOAL.angle_rad, GOAL_COLOR);
    let (outer, inner) = (WALL_LOW_PX - WALL_RADIUS_PX, WALL_HIGH_PX + WALL_RADIUS_PX);
    for axis in 0..2 {
        for middle in [WALL_LOW_PX, WALL_HIGH_PX] {
            let (mut low, mut high) = ([outer; 2], [inner; 2]);
            (low[axis], high[axis]) = (middle - WALL_RADIUS_PX, middle + WALL_RADIUS_PX);
            canvas.rectangle(low, high, WALL_COLOR);
        }
    }
    canvas.circle(agent, AGENT_RADIUS_PX, AGENT_COLOR);
    canvas.circle(agent, AGENT_RADIUS_PX - AGENT_OUTLINE_PX, AGENT_INSIDE);
    for bar in BARS {
        for (margin, color) in [(OUTLINE_PX, BLOCK_COLOR), (-OUTLINE_PX, BLOCK_INSIDE)] {
            canvas.polygon_at(&grown(bar, margin), block.position, block.angle_rad, color);
        }
    }
    canvas.into_image()
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
        let image = draw([100.0, 400.0], block, 512);
        assert_eq!(image.pixel(5, 250), WALL_COLOR);
        assert_eq!(image.pixel(400, 100), AGENT_INSIDE);
        assert_eq!(image.pixel(400, 87), AGENT_COLOR);
        assert_eq!(image.pixel(95, 350), BLOCK_INSIDE);
        assert_eq!(image.pixel(81, 350), BLOCK_COLOR);
        assert_eq!(image.pixel(150, 400), BLOCK_INSIDE);
        let goal = GOAL.to_world([0.0, 60.0]).map(|v| v as usize);
        assert_eq!(image.pixel(goal[1], goal[0]), GOAL_COLOR);
        assert_eq!(image.pixel(300, 300), FLOOR);
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
}
