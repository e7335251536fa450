//! Video: pictures in, an mp4 file out, and back.
//!
//! Written: H.264 by openh264, 4:2:0, limited range, BT.601 (LeRobot's colours), every second picture a key picture so
//! that a random frame costs one picture more than itself. While recording, the mp4 is fragmented, so a file that was
//! cut short stays readable up to the cut; `finish` joins episodes into plain mp4 files without encoding them anew.
//!
//! Read: H.264 and AV1 in mp4, fragmented or not, with edit lists and B-pictures.

pub(crate) mod boxes;
pub(crate) mod color;
pub(crate) mod costs;
pub(crate) mod decode;
pub(crate) mod demux;
pub(crate) mod encode;
pub(crate) mod join;
pub(crate) mod rgb;

/// Pictures from one key picture to the next.
pub(crate) const GROUP_OF_PICTURES: u32 = 2;
