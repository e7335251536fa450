//! Actions drawn as paths: where a plan or an action chunk would lead if nothing stood in the way.

use armilla_core::Action;

/// How an action moves the agent, and how the agent's units appear in the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Motion {
    /// Each action is a displacement: the agent moves by `gain` units per unit of action.
    Displacement {
        /// Units of state per unit of action.
        gain: f32,
        /// Length of an action, in its own units, beyond which the agent goes no further in its direction; none where it does.
        longest: Option<f32>,
        /// Pixels of the picture per unit of state.
        pixels_per_unit: f32,
    },
    /// Each action is the position to go to.
    Target {
        /// Pixels of the picture per unit of state.
        pixels_per_unit: f32,
    },
}

impl Motion {
    /// The path in the picture's pixels, `(column, row)`, from the agent's position `(x, y)` in the state's units.
    ///
    /// The first two values of an action are taken as x and y. The path ends before the first that is not finite.
    #[must_use]
    pub fn path(&self, start: [f32; 2], actions: &[Action]) -> Vec<[f32; 2]> {
        let mut position = start;
        let mut path = vec![self.in_picture(start)];
        for action in actions {
            let &[x, y, ..] = action.0.as_slice() else {
                break;
            };
            if !(x.is_finite() && y.is_finite()) {
                break;
            }
            position = match *self {
                Self::Displacement { gain, longest, .. } => {
                    let too_long = longest.map_or(1.0, |most| x.hypot(y).max(most) / most);
                    let gain = gain / too_long;
                    [position[0] + gain * x, position[1] + gain * y]
                }
                Self::Target { .. } => [x, y],
            };
            path.push(self.in_picture(position));
        }
        path
    }

    fn in_picture(self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (Self::Displacement {
            pixels_per_unit, ..
        }
        | Self::Target { pixels_per_unit }) = self;
        [x * pixels_per_unit, y * pixels_per_unit]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displacements_add_up() {
        let motion = Motion::Displacement {
            gain: 5.0,
            longest: None,
            pixels_per_unit: 0.5,
        };
        let actions = [Action(vec![1.0, 0.0]), Action(vec![1.0, -1.0])];
        assert_eq!(
            motion.path([10.0, 20.0], &actions),
            [[5.0, 10.0], [7.5, 10.0], [10.0, 7.5]]
        );
    }

    #[test]
    fn too_long_a_displacement_keeps_its_direction() {
        let motion = Motion::Displacement {
            gain: 2.0,
            longest: Some(5.0),
            pixels_per_unit: 1.0,
        };
        let actions = [Action(vec![6.0, 8.0]), Action(vec![0.0, -4.0])];
        assert_eq!(
            motion.path([0.0, 0.0], &actions),
            [[0.0, 0.0], [6.0, 8.0], [6.0, 0.0]]
        );
    }

    #[test]
    fn targets_are_positions() {
        let motion = Motion::Target {
            pixels_per_unit: 2.0,
        };
        assert_eq!(
            motion.path([0.0, 0.0], &[Action(vec![3.0, 4.0])]),
            [[0.0, 0.0], [6.0, 8.0]]
        );
    }

    #[test]
    fn what_cannot_be_drawn_ends_the_path() {
        let motion = Motion::Target {
            pixels_per_unit: 1.0,
        };
        let actions = [Action(vec![1.0]), Action(vec![1.0, 1.0])];
        assert_eq!(motion.path([0.0, 0.0], &actions).len(), 1);
        assert_eq!(
            motion
                .path([0.0, 0.0], &[Action(vec![f32::NAN, 1.0])])
                .len(),
            1
        );
    }
}
