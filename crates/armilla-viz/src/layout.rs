//! The screen that a recording opens to: episodes, prediction next to reality, curves, and the results below.

use re_sdk::blueprint::{
    Blueprint, BlueprintPanel, ContainerLike, Horizontal, SelectionPanel, Spatial2DView, Tabs,
    TextDocumentView, TimePanel, TimeSeriesView, Vertical,
};
use re_sdk::time::TimeInt;
use re_sdk_types::blueprint::components::{LoopMode, PanelState, PlayState};

/// Frames a second that the `step` timeline plays at.
const PLAYBACK_FPS: f64 = 10.0;

/// What a reel has to show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// The reel.
    pub(crate) name: String,
    /// Cameras; plans and chunks are drawn over the first.
    pub(crate) cameras: Vec<String>,
    /// Cameras of goals.
    pub(crate) goals: Vec<String>,
    /// Steps of all episodes.
    pub(crate) steps: i64,
    pub(crate) text: bool,
    pub(crate) statistics: bool,
    pub(crate) state: bool,
    pub(crate) action: bool,
    pub(crate) plan: bool,
    pub(crate) plan_cost: bool,
    pub(crate) chunk: bool,
    pub(crate) prediction: bool,
}

/// A training run and its figures.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) figures: Vec<String>,
}

/// All that a recording has to show.
pub(crate) struct Screen<'a> {
    pub(crate) reels: Vec<Shown>,
    pub(crate) runs: &'a [Run],
    /// Titles of charts.
    pub(crate) charts: &'a [String],
    /// Titles of evaluations.
    pub(crate) rates: &'a [String],
    pub(crate) has_results: bool,
}

/// The blueprint: three columns over the results; what is not there takes no room.
pub(crate) fn screen(screen: &Screen<'_>) -> Blueprint {
    let columns: Vec<(f32, ContainerLike)> = [
        (3.0, tabs(screen.reels.iter().filter_map(episodes))),
        (3.0, tabs(screen.reels.iter().filter_map(prediction))),
        (3.0, curves(screen)),
    ]
    .into_iter()
    .filter_map(|(share, column)| Some((share, column?)))
    .collect();
    let (shares, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let mut rows: Vec<ContainerLike> =
        vec![Horizontal::new(columns).with_column_shares(shares).into()];
    rows.extend(results(screen));
    let below = if screen.rates.is_empty() { 1.0 } else { 1.5 };
    let last_step = screen.reels.iter().map(|reel| reel.steps).max();
    Blueprint::new(Vertical::new(rows).with_row_shares([3.0, below]))
        .with_auto_views(false)
        .with_blueprint_panel(BlueprintPanel::from_state(PanelState::Collapsed))
        .with_selection_panel(SelectionPanel::from_state(PanelState::Collapsed))
        .with_time_panel(time_panel(last_step.unwrap_or(0)))
}

/// Success as bars, the text beside them.
fn results(screen: &Screen<'_>) -> Option<ContainerLike> {
    let bars = screen.rates.iter().enumerate().map(|(index, title)| {
        let view = Spatial2DView::new(title.as_str()).with_origin(rates_origin(index));
        ContainerLike::from(view)
    });
    let text = TextDocumentView::new("Results").with_origin("results");
    let text = screen.has_results.then(|| text.into());
    let columns: Vec<_> = tabs(bars).into_iter().chain(text).collect();
    (!columns.is_empty()).then(|| Horizontal::new(columns).into())
}

/// Plays the reels in a loop. Training curves lie on the same timeline and may be far longer, so the loop is bounded.
fn time_panel(steps: i64) -> TimePanel {
    let panel = TimePanel::new()
        .with_state(PanelState::Collapsed)
        .with_timeline("step")
        .with_fps(PLAYBACK_FPS);
    if steps < 2 {
        return panel.with_play_state(PlayState::Paused);
    }
    panel
        .with_play_state(PlayState::Playing)
        .with_loop_mode(LoopMode::Selection)
        .with_time_selection(TimeInt::new_temporal(0)..=TimeInt::new_temporal(steps - 1))
}

/// The cameras with their overlays; the words, the goal and the statistics below.
fn episodes(reel: &Shown) -> Option<ContainerLike> {
    let mut below: Vec<ContainerLike> = Vec::new();
    if reel.text {
        let text = TextDocumentView::new("Episode").with_origin(format!("{}/text", reel.name));
        below.push(text.into());
    }
    for camera in &reel.goals {
        let name = match reel.goals.len() {
            1 => "Goal".to_owned(),
            _ => format!("Goal {camera}"),
        };
        let goal = Spatial2DView::new(name).with_origin(format!("{}/goal/{camera}", reel.name));
        below.push(goal.into());
    }
    if reel.statistics {
        let origin = format!("{}/statistics", reel.name);
        let statistics = TextDocumentView::new("Statistics").with_origin(origin);
        below.push(statistics.into());
    }
    let pictures: Vec<ContainerLike> = reel
        .cameras
        .iter()
        .map(|camera| {
            let origin = format!("{}/camera/{camera}", reel.name);
            let view = Spatial2DView::new(format!("Camera {camera}")).with_origin(origin);
            ContainerLike::from(view)
        })
        .collect();
    let mut rows: Vec<ContainerLike> = match pictures.len() {
        0 if below.is_empty() => return None,
        0 => Vec::new(),
        1 => pictures,
        _ => vec![Horizontal::new(pictures).into()],
    };
    if !below.is_empty() {
        rows.push(Horizontal::new(below).into());
    }
    let shares: &[f32] = if rows.len() > 1 { &[3.0, 1.4] } else { &[1.0] };
    let column = Vertical::new(rows).with_row_shares(shares);
    Some(column.with_name(&reel.name).into())
}

/// Reality and imagination side by side, how far apart they are below.
fn prediction(reel: &Shown) -> Option<ContainerLike> {
    if !reel.prediction {
        return None;
    }
    let origin = |what: &str| format!("{}/prediction/{what}", reel.name);
    let pictures = Horizontal::new([
        Spatial2DView::new("Reality")
            .with_origin(origin("real"))
            .into(),
        Spatial2DView::new("Imagined")
            .with_origin(origin("imagined"))
            .into(),
    ]);
    let error = TimeSeriesView::new("Latents: mean squared error").with_origin(origin("error"));
    let column = Vertical::new([pictures.into(), error.into()]).with_row_shares([1.0, 1.0]);
    Some(column.with_name(format!("{}, imagined", reel.name)).into())
}

/// Curves of the reels above those of the training runs.
fn curves(screen: &Screen<'_>) -> Option<ContainerLike> {
    let rows: Vec<ContainerLike> = [
        tabs(screen.reels.iter().filter_map(reel_curves)),
        tabs(screen.runs.iter().flat_map(training_curves)),
        tabs(screen.charts.iter().map(|title| chart(title))),
    ]
    .into_iter()
    .flatten()
    .collect();
    match rows.len() {
        0 => None,
        _ => Some(Vertical::new(rows).with_row_shares([3.0, 2.0, 2.0]).into()),
    }
}

fn reel_curves(reel: &Shown) -> Option<ContainerLike> {
    let rows: Vec<ContainerLike> = [
        (reel.plan_cost, "Plan cost", "plan_cost"),
        (reel.action, "Action", "action"),
        (reel.state, "State", "state"),
    ]
    .into_iter()
    .filter(|(is_there, ..)| *is_there)
    .map(|(_, title, entity)| {
        TimeSeriesView::new(title)
            .with_origin(format!("{}/{entity}", reel.name))
            .into()
    })
    .collect();
    if rows.is_empty() {
        return None;
    }
    Some(Vertical::new(rows).with_name(&reel.name).into())
}

/// The loss alone, then all figures: their scales rarely fit one plot.
fn training_curves(run: &Run) -> Vec<ContainerLike> {
    let view = |title: String, contents: Vec<String>| -> ContainerLike {
        TimeSeriesView::new(title)
            .with_origin(format!("training/{}", run.name))
            .with_contents(contents)
            .into()
    };
    let all = view(format!("{}, all", run.name), vec!["$origin/**".to_owned()]);
    if run.figures.len() > 1 && run.figures.iter().any(|figure| figure == "loss") {
        let loss = view(
            format!("{} loss", run.name),
            vec!["$origin/loss".to_owned()],
        );
        return vec![loss, all];
    }
    vec![all]
}

fn chart(title: &str) -> ContainerLike {
    let view = TimeSeriesView::new(title);
    view.with_origin(chart_origin(title)).into()
}

/// Where the curves of a chart stand.
pub(crate) fn chart_origin(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    format!("charts/{}", words.join("_").to_lowercase())
}

/// Where the bars of an evaluation stand.
pub(crate) fn rates_origin(index: usize) -> String {
    format!("rates/{index}")
}

/// Tabs, or the thing itself where there is only one.
fn tabs(contents: impl Iterator<Item = ContainerLike>) -> Option<ContainerLike> {
    let mut contents: Vec<_> = contents.collect();
    match contents.len() {
        0 => None,
        1 => contents.pop(),
        _ => Some(Tabs::new(contents).into()),
    }
}
