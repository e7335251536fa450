//! Against LeRobot: its files read here, ours laid out for it.

use super::*;

pub(super) fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// The largest difference from the frame that PyAV decoded.
fn off_pyav(image: &Image, name: &str) -> u8 {
    let file = std::fs::File::open(fixture(name)).unwrap();
    let decoder = image::codecs::png::PngDecoder::new(std::io::BufReader::new(file)).unwrap();
    let mut expected = vec![0; image.data().len()];
    image::ImageDecoder::read_image(decoder, &mut expected).unwrap();
    let pairs = image.data().iter().zip(&expected);
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn what_lerobot_writes_is_read() {
    let dataset = Dataset::open(fixture("lerobot")).unwrap();
    assert_eq!((dataset.episodes().len(), dataset.fps()), (2, 10));
    assert_eq!(dataset.episodes()[1].instruction(), "task 1");
    assert_eq!(dataset.states(1).unwrap().row(3), [1.0, 0.75]);
    assert_eq!(dataset.actions(0).unwrap().row(4), [0.0, -1.0]);
    assert_eq!(
        dataset.numbers(1, "next.reward").unwrap(),
        [0.0, 1.0, 2.0, 3.0, 4.0]
    );
    let found = &dataset.statistics()["observation.state"];
    assert_eq!((found.mean.as_slice(), found.count), (&[0.5, 0.5][..], 10));
    let key = dataset.first_camera().unwrap();
    assert_eq!(dataset.statistics()[&key].mean.len(), 3);
    // Coded as AV1; both episodes lie in one file.
    let off = [
        off_pyav(&dataset.images(0, &key).unwrap()[2], "lerobot-02.png"),
        off_pyav(&dataset.images(1, &key).unwrap()[2], "lerobot-07.png"),
    ];
    assert_eq!(off, [0, 0]);
}

#[test]
fn b_pictures_and_edit_lists_are_read() {
    let index = video::demux::VideoIndex::read(&fixture("b_pictures.mp4")).unwrap();
    assert_eq!(index.shown.len(), 12);
    assert_ne!(
        index.shown,
        (0..12).collect::<Vec<_>>(),
        "there are B-pictures"
    );
    assert_eq!(index.nearest(0.5).unwrap().0, 5);
    assert!(
        index.nearest(0.0).unwrap().1 < 1e-9,
        "the edit list is applied"
    );
    for frame in [0, 5, 11] {
        let images = video::decode::decode(&index, frame..frame + 1).unwrap();
        let off = off_pyav(&images[0], &format!("b_pictures-{frame:02}.png"));
        assert_eq!(off, 0, "frame {frame}");
    }
}

/// Writes what `scripts/lerobot_check.py` compares, under the system's temporary folder.
#[test]
#[ignore = "only for scripts/lerobot_check.py"]
fn write_what_lerobot_checks() {
    let folder = std::env::temp_dir().join("armilla-lerobot-check");
    layout::remove_folder(&folder).unwrap();
    let (root, frames) = (folder.join("dataset"), folder.join("frames"));
    std::fs::create_dir_all(&frames).unwrap();
    let mut config = config();
    let wrist = "observation.images.wrist".to_owned();
    config.features.0.insert(wrist, Feature::camera(64, 64));
    let mut recorder = Recorder::create(&root, config).unwrap();
    let mut episodes: Vec<_> = (0..12).map(|i| episode(i, 20 + 7 * i)).collect();
    for (number, frames) in episodes.iter_mut().enumerate() {
        for (time, observation) in frames.observations.iter_mut().enumerate() {
            let mut image = Image::filled(64, 64, [20 * number as u8, 200, 90]);
            let at = (time % 40) * 64 * 3;
            image.data_mut()[at..at + 64 * 3 * 8].fill(250);
            observation.images.insert("wrist".to_owned(), image);
        }
    }
    recorder.add_episodes(&episodes).unwrap();
    recorder.finish().unwrap();
    let dataset = Dataset::open(&root).unwrap();
    let write = |number: usize, what: &str, bytes: Vec<u8>| {
        std::fs::write(frames.join(format!("{number:03}.{what}")), bytes).unwrap();
    };
    for (number, episode) in episodes.iter().enumerate() {
        for camera in ["top", "wrist"] {
            let original = episode
                .observations
                .iter()
                .flat_map(|o| o.images[camera].data());
            write(
                number,
                &format!("{camera}.original"),
                original.copied().collect(),
            );
            let decoded = dataset.images(number, camera).unwrap();
            let decoded = decoded.iter().flat_map(|image| image.data().to_vec());
            write(number, &format!("{camera}.decoded"), decoded.collect());
        }
        let bytes = |row: &Vec<f32>| row.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        write(
            number,
            "state",
            episode
                .observations
                .iter()
                .flat_map(|o| bytes(&o.state))
                .collect(),
        );
        write(
            number,
            "action",
            episode.actions.iter().flat_map(|a| bytes(&a.0)).collect(),
        );
        write(
            number,
            "task",
            dataset.episodes()[number].instruction().into(),
        );
    }
}
