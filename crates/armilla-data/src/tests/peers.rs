//! Against LeRobot: its files read here, ours laid out for it.

use std::sync::Arc;

use super::*;

pub(super) fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/peers")
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
    assert_eq!(dataset.features().0["action"].names, ["x", "y"]);
    let found = &dataset.statistics()["observation.state"];
    assert_eq!((found.mean.as_slice(), found.count), (&[0.5, 0.5][..], 10));
    let video = dataset.camera_key("observation.image").unwrap();
    assert_eq!(dataset.statistics()[&video].mean.len(), 3);
    // Coded as AV1; both episodes lie in one file.
    let off = [
        off_pyav(&dataset.image(0, &video, 2).unwrap(), "lerobot-02.png"),
        off_pyav(&dataset.images(1, &video).unwrap()[2], "lerobot-07.png"),
    ];
    assert_eq!(off, [0, 0]);
    assert_eq!(dataset.find(7).unwrap(), (1, 2));
    assert!(
        dataset
            .find(10)
            .unwrap_err()
            .to_string()
            .contains("below 10")
    );
}

#[test]
fn a_camera_without_the_prefix_is_loaded_by_its_key() {
    let key = "observation.image";
    let dataset = Arc::new(Dataset::open(fixture("lerobot")).unwrap());
    let names: Vec<_> = dataset.features().cameras().map(|(name, _)| name).collect();
    assert_eq!(names, [key, "wrist"]);
    let mut config = LoaderConfig::new(WindowSpec::new(&[0], 1), 4, 1);
    config.cameras = Some(vec![key.to_owned()]);
    let source = LoaderSource::new(Arc::clone(&dataset));
    let loader = WindowLoader::new(vec![source], config).unwrap();
    let camera = loader.batch(0).unwrap().cameras.remove(0);
    assert_eq!(
        (camera.name.as_str(), camera.is_missing.as_slice()),
        (key, &[false; 4][..])
    );
    let window = loader.windows(0)[0];
    let expected = dataset.image(window.episode, key, window.frame).unwrap();
    assert_eq!(&camera.images[..camera.picture_len()], expected.data());
    assert_eq!(loader.statistics()[key], dataset.statistics()[key]);
}

#[test]
fn every_type_that_lerobot_writes_is_read() {
    let dataset = Dataset::open(fixture("lerobot")).unwrap();
    let column = |key: &str| dataset.column(1, key).unwrap();
    let rewards = column("next.reward").values::<f32>().unwrap();
    assert_eq!(rewards, [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(
        column("next.done").values::<bool>().unwrap(),
        [false, false, false, false, true]
    );
    assert_eq!(column("note").values::<String>().unwrap()[3], "größer 1.3");
    assert_eq!(
        column("count").values::<u8>().unwrap(),
        [250, 251, 252, 253, 254]
    );
    assert_eq!(column("large").values::<i64>().unwrap()[4], (1 << 60) + 4);
    let grid = column("grid").values::<f64>().unwrap();
    assert_eq!((grid.len(), &grid[6..9]), (30, &[0.125, 1.125, 2.125][..]));
    assert_eq!(
        column("flags").values::<bool>().unwrap()[..4],
        [true, true, true, false]
    );
    // A table's pictures are the video's, upside down and exact.
    let image = dataset.image(1, "wrist", 2).unwrap();
    assert_eq!(
        (image.pixel(0, 0), image.pixel(63, 63)),
        ([30, 140, 120], [30, 140, 120])
    );
    assert_eq!(
        (image.pixel(63 - 20, 11), image.pixel(63 - 41, 21)),
        ([230, 200, 40], [200, 30, 60])
    );
    assert!(dataset.column(1, "observation.image").is_err());
}

#[test]
fn h264_as_lerobot_codes_it_is_read() {
    for name in ["lerobot_h264", "lerobot_b_pictures"] {
        let dataset = Dataset::open(fixture(name)).unwrap();
        for (episode, frame) in [(0, 1), (1, 2)] {
            let image = dataset.image(episode, "observation.image", frame).unwrap();
            let number = 5 * episode + frame;
            let off = off_pyav(&image, &format!("{name}-{number:02}.png"));
            assert_eq!(off, 0, "{name} {episode} {frame}");
        }
    }
}

#[test]
fn decoders_of_h264_may_be_used_again_and_again() {
    for name in ["lerobot_h264", "lerobot_b_pictures"] {
        let dataset = Dataset::open(fixture(name)).unwrap();
        let reader = dataset.reader();
        let episode = reader.episode(1).unwrap();
        let (index, shown) = reader.episode_video(episode, "observation.image").unwrap();
        let read = |wanted: &[usize]| {
            let mut pictures = Vec::new();
            let decoders = &reader.decoders;
            let mut visit = |position: usize, decoded: &video::decode::Decoded<'_>| {
                let [height, width] = decoded.size();
                let mut rgb = vec![0; height * width * 3];
                decoded.write_rgb(&mut rgb)?;
                pictures.push((position, rgb));
                Ok(())
            };
            decoders.decode(&index, wanted, &mut visit).unwrap();
            pictures.retain(|(position, _)| wanted.contains(position));
            pictures
        };
        let all: Vec<_> = (0..shown.end).collect();
        let expected = read(&all);
        assert_eq!(expected.len(), all.len());
        for round in 0..40 {
            let frame = round % all.len();
            assert_eq!(read(&[frame]), expected[frame..=frame], "{name} {round}");
        }
    }
}

#[test]
fn codecs_that_are_not_decoded_are_named() {
    for (file, codec) in [("hevc.mp4", "hev1"), ("h264_444.mp4", "profile 244")] {
        let index = video::demux::VideoIndex::read(&fixture(file)).unwrap();
        let error = video::decode::decode(&index, 0..1, None)
            .unwrap_err()
            .to_string();
        let has = |word: &&str| error.contains(word);
        assert!([file, codec, "ffmpeg"].iter().all(has), "{error}");
    }
}

#[test]
fn frames_of_another_shape_than_expected_are_refused() {
    let av1 = "lerobot/videos/observation.image/chunk-000/file-000.mp4";
    for file in ["b_pictures.mp4", av1] {
        let index = video::demux::VideoIndex::read(&fixture(file)).unwrap();
        let error = video::decode::decode(&index, 0..1, Some(&[1, 1, 3])).unwrap_err();
        let problem = "expected pictures of shape [1, 1, 3], found [64, 64, 3]";
        assert!(error.to_string().contains(problem), "{error}");
        assert!(error.to_string().contains(file), "{error}");
    }
}

#[test]
fn any_video_is_joined_without_encoding_anew() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["b_pictures.mp4", "hevc.mp4"] {
        let index = video::demux::VideoIndex::read(&fixture(file)).unwrap();
        let path = folder.path().join(file);
        let mut joiner = video::join::VideoJoiner::create(&path, &index, (64, 64), 10).unwrap();
        joiner.append(&index, &(0..12)).unwrap();
        joiner.append(&index, &(0..12)).unwrap();
        joiner.finish().unwrap();
        let joined = video::demux::VideoIndex::read(&path).unwrap();
        assert_eq!((joined.shown.len(), &joined.codec), (24, &index.codec));
        assert_eq!(joined.nearest(1.7).unwrap().0, 17);
        assert!(joined.nearest(1.7).unwrap().1 < 1e-9);
        if file == "b_pictures.mp4" {
            let expected = video::decode::decode(&index, 5..6, None).unwrap();
            assert_eq!(
                video::decode::decode(&joined, 17..18, None).unwrap(),
                expected
            );
        }
        let error = joiner_error(&index);
        assert!(error.contains("key frame"), "{error}");
    }
}

fn joiner_error(index: &video::demux::VideoIndex) -> String {
    video::join::packets(index, &(1..12))
        .unwrap_err()
        .to_string()
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
        let images = video::decode::decode(&index, frame..frame + 1, None).unwrap();
        let off = off_pyav(&images[0], &format!("b_pictures-{frame:02}.png"));
        assert_eq!(off, 0, "frame {frame}");
    }
}
