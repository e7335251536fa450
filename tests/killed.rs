//! A recording that is killed at any moment keeps every episode that it said was finished.
//!
//! The process that is killed is this test binary again, told to run [`recording`] in a folder of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use armilla_core::features::{Feature, Features};
use armilla_core::random::stream;
use armilla_core::{Action, Image, Observation};
use armilla_data::{CAPTURE_TIMESTAMP, Columns, Dataset, Frame, Recorder, RecorderConfig};
use rand::RngExt;

const HEIGHT: usize = 32;
const WIDTH: usize = 48;
const CAMERAS: [&str; 2] = ["side", "top"];
const EPISODES: usize = 5;
/// Steps of an episode; enough for a fragment of video to be written before its end.
const STEPS: usize = 40;
/// The folder that is recorded into, below that of the process.
const DATASET: &str = "d";
/// Lies in the folder of a process that is to be killed.
const CONSENT: &str = "to-be-killed";
const KILLS: u64 = 50;

fn config() -> RecorderConfig {
    let mut features = Features::robot(
        ("top", Feature::camera(HEIGHT, WIDTH)),
        Feature::vector(&["x", "y"]),
        Feature::vector(&["dx", "dy"]),
    );
    let side = Feature::camera(HEIGHT, WIDTH);
    let key = "observation.images.side".to_owned();
    features.0.insert(key, side);
    RecorderConfig::new(features, 30, "pusher", "reach the goal").with_capture_timestamps()
}

/// A coloured square on a coloured ground, moving.
fn picture(camera: usize, episode: usize, step: usize) -> Image {
    let mut image = Image::filled(HEIGHT, WIDTH, [40, 90, (40 * episode + 20 * camera) as u8]);
    let (top, left) = (2 * (step % 12), 2 * (step % 20));
    for row in top..top + 8 {
        let at = (row * WIDTH + left) * 3;
        image.data_mut()[at..at + 24].copy_from_slice(&[220, 60, 20].repeat(8));
    }
    image
}

fn observation(episode: usize, step: usize) -> Observation {
    let cameras = CAMERAS.iter().enumerate();
    Observation {
        images: cameras
            .map(|(number, &name)| (name.to_owned(), picture(number, episode, step)))
            .collect(),
        state: vec![episode as f32, step as f32],
        captured_at_secs: step as f64 / 30.0 + 0.001,
        instruction: Some(format!("task {}", episode % 2)),
        ..Observation::default()
    }
}

fn action(episode: usize, step: usize) -> Action {
    Action(vec![step as f32 * 0.5, -(episode as f32)])
}

/// Says something to the test that started this process.
fn say(words: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{words}").unwrap();
    output.flush().unwrap();
}

/// What is killed.
#[test]
#[ignore = "only `killed_at_any_moment` starts it, in a folder of its own"]
fn recording() {
    assert!(
        Path::new(CONSENT).exists(),
        "only `killed_at_any_moment` starts this, in a folder of its own"
    );
    let mut recorder = Recorder::create(DATASET, config()).unwrap();
    for episode in 0..EPISODES {
        for step in 0..STEPS {
            let frame = Frame {
                observation: &observation(episode, step),
                action: &action(episode, step),
                others: &Columns::new(),
            };
            recorder.add(&frame).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
        let saved = recorder.save_episode().unwrap();
        say(&format!("finished {}", saved.index + 1));
    }
    recorder.finish().unwrap();
    say("joined");
}

/// A process that records.
struct Recording {
    child: Child,
    folder: PathBuf,
}

impl Recording {
    fn start(folder: &Path) -> Self {
        fs::write(folder.join(CONSENT), b"").unwrap();
        let arguments = ["--exact", "killed::recording", "--ignored", "--nocapture"];
        let child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            folder: folder.to_owned(),
        }
    }

    fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until a file of the dataset is there, or the process at its end.
    fn wait_for(&mut self, file: &str) {
        let path = self.folder.join(DATASET).join(file);
        while !path.exists() && !self.is_over() {
            std::thread::sleep(Duration::from_micros(30));
        }
    }

    /// Waits until the whole dataset is said to be there.
    fn wait_for_the_end(&mut self) -> String {
        let mut said = String::new();
        let mut output = BufReader::new(self.child.stdout.as_mut().unwrap());
        while !said.contains("joined") {
            assert!(output.read_line(&mut said).unwrap() > 0, "{said}");
        }
        said
    }

    /// Kills it; gives back how many episodes it has said are finished.
    fn kill(mut self, mut said: String) -> usize {
        // An error means that it has ended.
        self.child.kill().ok();
        self.child.wait().unwrap();
        let mut output = self.child.stdout.take().unwrap();
        output.read_to_string(&mut said).unwrap();
        let mut numbers = said.lines().filter_map(|line| {
            let (_, number) = line.split_once("finished ")?;
            number.parse().ok()
        });
        numbers.next_back().unwrap_or(0)
    }
}

/// Where a kill fell, by what lies in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// Before there was a dataset.
    Begin,
    /// While pictures were encoded.
    Pictures,
    /// While the tables of an episode were written and synced.
    Tables,
    /// After a video of an episode had its name, before its metadata had.
    Renames,
    /// After the metadata, before `info.json` counted the episode.
    Count,
    /// Between two episodes.
    Between,
    /// While episodes were joined.
    Joining,
    /// While joined files took the place of the others.
    Replacing,
    /// After the end.
    End,
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

fn moment(root: &Path) -> Moment {
    let Ok(info) = fs::read_to_string(root.join("meta/info.json")) else {
        return match root.join(".compact/whole").exists() {
            true => Moment::Replacing,
            false => Moment::Begin,
        };
    };
    let videos = CAMERAS.map(|camera| {
        let name = format!("videos/observation.images.{camera}/chunk-000");
        files(&root.join(name))
    });
    let metadata = files(&root.join("meta/episodes/chunk-000"));
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let unfinished = |file: &str| {
        let folder = root.join(format!(".recording/episode-{metadata:06}"));
        folder.join(file).exists()
    };
    match () {
        () if root.join(".compact/whole").exists() => Moment::Replacing,
        () if root.join(".compact").exists() => Moment::Joining,
        () if !root.join(".recording").exists() => Moment::End,
        () if videos.iter().any(|&count| count > metadata) => Moment::Renames,
        () if info["total_episodes"] != metadata && videos[0] == metadata => Moment::Count,
        () if unfinished("data.parquet") => Moment::Tables,
        () if unfinished("side.mp4") => Moment::Pictures,
        () => Moment::Between,
    }
}

/// Kills a recording at a moment that a generator draws; gives back where that fell and how many episodes were finished.
fn record_and_kill(folder: &Path, generator: &mut impl RngExt, whole: Duration) -> (Moment, usize) {
    let mut recording = Recording::start(folder);
    let mut said = String::new();
    let kind = generator.random_range(0..20);
    let episode = generator.random_range(0..EPISODES);
    let later = Duration::from_micros(generator.random_range(0..1500));
    let delay = match kind {
        // At any time.
        0..8 => whole.mul_f64(generator.random::<f64>()),
        // Shortly after a file has come about, whatever the machine's pace.
        8..11 => {
            recording.wait_for(&format!(".recording/episode-{episode:06}/data.parquet"));
            later
        }
        11 => {
            recording.wait_for(&format!(".recording/episode-{episode:06}/side.mp4"));
            later
        }
        12 | 13 => {
            let camera = "videos/observation.images.side/chunk-000";
            recording.wait_for(&format!("{camera}/file-{episode:03}.mp4"));
            later / 8
        }
        14..16 => {
            recording.wait_for(&format!(
                "meta/episodes/chunk-000/file-{episode:03}.parquet"
            ));
            later / 8
        }
        16 | 17 => {
            recording.wait_for(".compact");
            later * 10
        }
        18 => {
            recording.wait_for(".compact/whole");
            later / 8
        }
        _ => {
            said = recording.wait_for_the_end();
            Duration::ZERO
        }
    };
    std::thread::sleep(delay);
    let finished = recording.kill(said);
    (moment(&folder.join(DATASET)), finished)
}

/// Everything of the dataset's episodes is what was recorded.
fn check_episodes(dataset: &Dataset) {
    for (index, episode) in dataset.episodes().iter().enumerate() {
        assert_eq!((episode.index, episode.length), (index, STEPS));
        assert_eq!(episode.first_index, index * STEPS);
        assert_eq!(episode.instruction(), format!("task {}", index % 2));
        let (states, actions) = (dataset.states(index), dataset.actions(index));
        let (states, actions) = (states.unwrap(), actions.unwrap());
        let times = dataset.numbers(index, CAPTURE_TIMESTAMP).unwrap();
        assert_eq!(
            (states.len(), actions.len(), times.len()),
            (STEPS, STEPS, STEPS)
        );
        for (step, &time) in times.iter().enumerate() {
            let expected = observation(index, step);
            assert_eq!(states.row(step), expected.state);
            assert_eq!(actions.row(step), action(index, step).0);
            assert_eq!(time, expected.captured_at_secs);
        }
        for (number, camera) in CAMERAS.iter().enumerate() {
            let images = dataset.images(index, camera).unwrap();
            assert_eq!(images.len(), STEPS);
            for (step, image) in images.iter().enumerate() {
                let expected = picture(number, index, step);
                let pairs = image.data().iter().zip(expected.data());
                let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                let off = sum as f64 / expected.data().len() as f64;
                assert!(off < 3.0, "{camera}, episode {index}, step {step}: {off}");
            }
        }
    }
}

/// Opens what a kill left: nothing that was finished is missing, and it says what it recovered.
fn check_recovery(root: &Path, found: Moment, finished: usize) {
    let dataset = match Dataset::open(root) {
        Ok(dataset) => dataset,
        Err(error) => {
            let said = error.to_string();
            assert!(
                found == Moment::Begin && finished == 0,
                "{found:?}, {finished} finished: {said}"
            );
            assert!(said.contains("no dataset here"), "{said}");
            return;
        }
    };
    let episodes = dataset.episodes().len();
    // One more than was said, if it was killed just before it could say so.
    assert!(
        (finished..=finished + 1).contains(&episodes),
        "{found:?}: {finished} finished, {episodes} there"
    );
    match dataset.recovered() {
        None => assert_eq!((found, episodes), (Moment::End, EPISODES)),
        Some(recovered) => {
            assert!(found != Moment::End && !recovered.being_recorded);
            assert_eq!(recovered.episodes, episodes);
            let said = recovered.to_string();
            let kept = format!("{episodes} finished episodes kept");
            assert!(said.contains(&kept), "{said}");
        }
    }
    check_episodes(&dataset);
    drop(dataset);
    assert_eq!(Dataset::open(root).unwrap().recovered(), None);
}

#[test]
fn killed_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut recording = Recording::start(folder.path());
    let said = recording.wait_for_the_end();
    let whole = begun.elapsed();
    assert_eq!(recording.kill(said), EPISODES);
    check_recovery(&folder.path().join(DATASET), Moment::End, EPISODES);
    let mut moments = Vec::new();
    for number in 0..KILLS {
        let folder = tempfile::tempdir().unwrap();
        let mut generator = stream(4, "kills", number);
        let (found, finished) = record_and_kill(folder.path(), &mut generator, whole);
        check_recovery(&folder.path().join(DATASET), found, finished);
        moments.push(found);
    }
    moments.sort();
    let counts = moments.chunk_by(|a, b| a == b);
    let counts: Vec<_> = counts.map(|part| (part[0], part.len())).collect();
    say(&format!("{KILLS} kills fell: {counts:?}"));
    // What is renamed in a few microseconds cannot be hit for certain; each of these lasts, or is waited for.
    let hit = |wanted: &[Moment]| moments.iter().any(|moment| wanted.contains(moment));
    assert!(hit(&[Moment::Pictures]), "{counts:?}");
    assert!(
        hit(&[Moment::Tables, Moment::Renames, Moment::Count]),
        "{counts:?}"
    );
    assert!(hit(&[Moment::Joining, Moment::Replacing]), "{counts:?}");
    assert!(hit(&[Moment::End]), "{counts:?}");
}
