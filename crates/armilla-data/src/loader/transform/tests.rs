//! What becomes of pictures.

use super::*;
use armilla_core::random::stream;

/// A picture whose pixels tell their place.
fn placed([height, width]: [usize; 2]) -> Vec<u8> {
    let pixels = (0..height * width).map(|i| [(i / width) as u8, (i % width) as u8, 200]);
    pixels.flatten().collect()
}

fn apply(transforms: &[ImageTransform], picture: &[u8], size: [usize; 2], seed: u64) -> Vec<u8> {
    let (resizing, randomizing) = compile(transforms, size).unwrap();
    let mut middle = vec![0; resizing.picture_len()];
    resizing.write(picture, &mut middle).unwrap();
    let [height, width] = randomizing.target();
    let mut out = vec![0; height * width * 3];
    let mut generator = stream(seed, "transforms", 0);
    randomizing
        .write(&middle, &mut out, &mut generator)
        .unwrap();
    out
}

#[test]
fn a_picture_is_resized_in_the_middle_of_black() {
    let transform = ImageTransform::ResizeWithPad {
        height: 8,
        width: 8,
    };
    let out = apply(&[transform], &placed([8, 16]), [8, 16], 0);
    let row = |row: usize| &out[row * 24..][..24];
    assert!(row(0).iter().chain(row(1)).all(|&value| value == 0));
    assert!(row(6).iter().chain(row(7)).all(|&value| value == 0));
    // Four of the eight rows of before, sixteen columns in eight.
    assert_eq!(row(2)[3..6], [1, 3, 200]);
    assert_eq!(row(5)[21..24], [6, 14, 200]);
    let tall = apply(&[transform], &placed([16, 8]), [16, 8], 0);
    assert_eq!(tall[..6], [0; 6]);
    assert_eq!(tall[6..9], [1, 1, 200]);
}

#[test]
fn crops_cut_out_what_they_say() {
    let crop = ImageTransform::CenterCrop {
        height: 4,
        width: 6,
    };
    let out = apply(&[crop], &placed([8, 16]), [8, 16], 0);
    assert_eq!((out[0], out[1], out.len()), (2, 5, 72));
    let crop = ImageTransform::RandomCrop {
        height: 4,
        width: 6,
    };
    let mut places = std::collections::BTreeSet::new();
    for seed in 0..1000 {
        let out = apply(&[crop], &placed([8, 16]), [8, 16], seed);
        assert_eq!(out, apply(&[crop], &placed([8, 16]), [8, 16], seed));
        assert_eq!(out[69..71], [out[0] + 3, out[1] + 5]);
        places.insert((out[0], out[1]));
    }
    assert_eq!(places.len(), 5 * 11, "every place is drawn");
}

#[test]
fn random_ones_come_after_fixed_ones_in_the_order_given() {
    let jitter = ColorJitter {
        brightness: 0.5,
        ..ColorJitter::default()
    };
    let transforms = [
        ImageTransform::Resize {
            height: 6,
            width: 6,
        },
        ImageTransform::ColorJitter(jitter),
        ImageTransform::RandomCrop {
            height: 5,
            width: 5,
        },
        ImageTransform::Resize {
            height: 4,
            width: 3,
        },
    ];
    let (resizing, randomizing) = compile(&transforms, [12, 12]).unwrap();
    assert_eq!(resizing.picture_len(), 6 * 6 * 3);
    assert_eq!(randomizing.target(), [4, 3]);
    let grey = vec![100; 12 * 12 * 3];
    let levels: std::collections::BTreeSet<_> = (0..20)
        .map(|seed| apply(&transforms, &grey, [12, 12], seed)[0])
        .collect();
    assert!(levels.len() > 10 && levels.iter().all(|level| (50..=150).contains(level)));
}

#[test]
fn configurations_are_read_and_typos_refused() {
    let read = serde_json::from_str::<ImageTransform>;
    let jitter = read(r#"{"kind": "color-jitter", "hue": 0.1}"#).unwrap();
    let expected = ColorJitter {
        hue: 0.1,
        ..ColorJitter::default()
    };
    assert_eq!(jitter, ImageTransform::ColorJitter(expected));
    assert!(read(r#"{"kind": "color-jitter", "hew": 0.1}"#).is_err());
    assert!(read(r#"{"kind": "resize", "height": 4, "width": 4, "depth": 4}"#).is_err());
}

#[test]
fn what_cannot_be_done_is_said() {
    let crop = ImageTransform::RandomCrop {
        height: 9,
        width: 4,
    };
    let error = compile(&[crop], [8, 8]).unwrap_err().to_string();
    assert!(
        error.contains("random-crop") && error.contains("9 x 4"),
        "{error}"
    );
    let resize = ImageTransform::Resize {
        height: 0,
        width: 4,
    };
    assert!(compile(&[resize], [8, 8]).is_err());
}

#[test]
fn after_training_nothing_is_left_to_chance() {
    let crop = ImageTransform::RandomCrop {
        height: 8,
        width: 6,
    };
    let mix = ImageTransform::ChannelMix(ChannelMix::default());
    let resize = ImageTransform::Resize {
        height: 4,
        width: 4,
    };
    assert_eq!(
        size_after_transforms(&[crop, mix, resize], [12, 10]).unwrap(),
        [4, 4]
    );
    let picture = Picture::new(12, 10, placed([12, 10])).unwrap();
    let cut = apply_transforms(&[mix, crop], picture.clone()).unwrap();
    assert_eq!((cut.height(), cut.width()), (8, 6));
    assert_eq!(cut.pixel(0, 0), [2, 2, 200]);
    assert_eq!(apply_transforms(&[mix], picture.clone()).unwrap(), picture);
    let error = size_after_transforms(&[crop], [4, 4])
        .unwrap_err()
        .to_string();
    assert!(error.contains("transform center-crop"), "{error}");
}
