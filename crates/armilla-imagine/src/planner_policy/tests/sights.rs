//! What a planner sees: cameras, goals and proprioception.

use super::*;

/// What two cameras see, and a third that no model looks through.
fn pictures([top, wrist]: [u8; 2], with_third: bool) -> BTreeMap<String, Image> {
    let names = [("top", top), ("wrist", wrist), ("far", 200)];
    let seen = &names[..if with_third { 3 } else { 2 }];
    let picture = |&(name, level): &(&str, u8)| {
        let image = Image::filled(16, 16, [level, 90, 9]);
        (name.to_owned(), image)
    };
    seen.iter().map(picture).collect()
}

/// Each camera has its place, whatever else is seen, and none may be missing.
#[test]
fn several_cameras_are_looked_through_in_their_order() {
    let config = JepaConfig {
        cameras: 2,
        symmetries: false,
        ..config(1)
    };
    let model = || model_of(&config, StateScale::default());
    let said = PlannerPolicy::new(model(), plan(), &spec()).err().unwrap();
    let said = said.to_string();
    let lacks = "expected `wrist`, as in the recordings, found top";
    assert!(said.contains(lacks), "{said}");
    let mend = "name it in the checkpoint's config.json";
    assert!(said.ends_with(mend), "{said}");
    let mut both = spec();
    for name in ["wrist", "far"] {
        let key = format!("observation.images.{name}");
        both.features.0.insert(key, Feature::camera(16, 16));
    }
    let mut policy = PlannerPolicy::new(model(), plan(), &both).unwrap();
    let mut seen = |levels, with_third| {
        let mut asked = request(0, 0);
        asked.observation.images = pictures(levels, with_third);
        asked.observation.goal = Some(Goal {
            images: pictures(levels, with_third),
            state: Vec::new(),
        });
        policy.reset(0).unwrap();
        let problems = policy.problems(std::slice::from_ref(&asked));
        let problem = problems.unwrap().remove(0);
        assert_eq!(problem.context, problem.goal);
        assert_eq!(policy.act(&[asked]).unwrap()[0].actions.len(), 3);
        problem.goal
    };
    let found = seen([13, 240], false);
    assert_eq!(
        found,
        seen([13, 240], true),
        "what it does not look through"
    );
    assert_ne!(found, seen([240, 13], false));
    let asked = request(1, 0);
    let said = policy.act(&[asked]).unwrap_err().to_string();
    assert!(said.contains("a picture from camera `wrist`"), "{said}");
}

/// A goal that is what is seen has its latent: both go through the same camera, units and running statistics.
#[test]
fn a_goal_is_encoded_as_an_observation_is() {
    let mut policy = policy(1, plan()).unwrap();
    policy.reset(0).unwrap();
    let mut asked = request(0, 0);
    let seen = asked.observation.images["top"].clone();
    asked.observation.goal = Some(Goal::picture("top", seen));
    let problem = policy.problems(&[asked]).unwrap().remove(0);
    assert_eq!(problem.context, problem.goal);
}

/// A model that takes proprioception has to know it of the goal too.
#[test]
fn a_goal_has_proprioception_where_the_model_takes_some() {
    let mut policy = feeling();
    policy.reset(0).unwrap();
    let mut asked = request(0, 0);
    asked.observation.state = vec![0.5, -1.0];
    let error = policy.problems(std::slice::from_ref(&asked)).unwrap_err();
    let expected = "goal: expected 2 values of proprioception, found 0";
    assert_eq!(error.to_string(), expected);
    let goals = [[0.5, -1.0], [0.5, 2.0]].map(|state| {
        asked.episode += 1;
        asked.observation.goal.as_mut().unwrap().state = state.to_vec();
        let mut problems = policy.problems(std::slice::from_ref(&asked)).unwrap();
        problems.remove(0).goal
    });
    assert_ne!(goals[0], goals[1]);
    // In the same units as what is sensed.
    let Observation { images, state, .. } = &mut asked.observation;
    let (images, state) = (images.clone(), state.clone());
    asked.observation.goal = Some(Goal { images, state });
    asked.episode += 1;
    let problem = policy.problems(&[asked]).unwrap().remove(0);
    assert_eq!(problem.context, problem.goal);
}

#[test]
fn a_goal_of_another_size_is_named() {
    let mut policy = policy(1, plan()).unwrap();
    policy.reset(0).unwrap();
    let mut asked = request(0, 0);
    let wrong = Image::filled(8, 16, [9; 3]);
    asked.observation.goal = Some(Goal::picture("top", wrong));
    let error = policy.problems(&[asked]).unwrap_err();
    assert!(error.to_string().contains("goal of an episode"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "picture: expected 16 x 16, found 8 x 16");
}
