//! Rows of pictures with a label each: what came above what was imagined.

use armilla_core::Image;

use crate::chart::{escape, write_to};
use crate::error::{Error, Result};
use crate::{lettering, picture};

/// Small pictures are enlarged to about this many pixels, by whole factors so that pixels stay square.
const TILE_PIXELS: usize = 128;
const GAP: usize = 6;
const TEXT_SCALE: usize = 2;
const PAPER: [u8; 3] = [0xff, 0xff, 0xff];
/// Longest side of a picture that moves, as high as the page shows it: camera pictures of full size would make pages of many megabytes.
const MOVING_PIXELS: usize = 160;
/// How long each picture of a moving one stays.
const DELAY_MILLISECONDS: u16 = 200;

/// A row of pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilmRow {
    /// Name of the row.
    pub label: String,
    /// Pictures from left to right.
    pub images: Vec<Image>,
}

/// Rows of pictures under common column heads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filmstrip {
    /// Heading, on the page only.
    pub title: String,
    /// What is to be seen, on the page only.
    pub caption: String,
    /// Heads of the columns, such as `+1`; may be fewer than pictures.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<FilmRow>,
}

/// Draws the filmstrip into one PNG, labels on the left and column heads on top.
///
/// # Errors
///
/// [`Error::EmptyFilmstrip`] without any picture, [`Error::Picture`] when the encoder fails.
pub fn png(strip: &Filmstrip) -> Result<Vec<u8>> {
    let images = || strip.rows.iter().flat_map(|row| &row.images);
    let (Some(height), Some(width)) = (
        images().map(Image::height).max(),
        images().map(Image::width).max(),
    ) else {
        return Err(Error::EmptyFilmstrip {
            rows: strip.rows.len(),
        });
    };
    let scale = (TILE_PIXELS / height.max(width)).max(1);
    let (tile_height, tile_width) = (height * scale, width * scale);
    let columns = strip.rows.iter().map(|row| row.images.len()).max();
    let labels = strip
        .rows
        .iter()
        .map(|row| lettering::width(&row.label, TEXT_SCALE));
    let left = GAP + labels.max().unwrap_or(0) + GAP;
    let text_height = lettering::HEIGHT * TEXT_SCALE;
    let top = if strip.columns.is_empty() {
        GAP
    } else {
        text_height + 2 * GAP
    };
    let mut paper = Image::filled(
        top + strip.rows.len() * (tile_height + GAP),
        left + columns.unwrap_or(0) * (tile_width + GAP),
        PAPER,
    );
    for (column, head) in strip.columns.iter().enumerate() {
        let room = tile_width.saturating_sub(lettering::width(head, TEXT_SCALE));
        let at = (left + column * (tile_width + GAP) + room / 2, GAP);
        lettering::write(&mut paper, head, at, TEXT_SCALE);
    }
    for (index, row) in strip.rows.iter().enumerate() {
        let y = top + index * (tile_height + GAP);
        let at = (GAP, y + (tile_height.saturating_sub(text_height)) / 2);
        lettering::write(&mut paper, &row.label, at, TEXT_SCALE);
        for (column, image) in row.images.iter().enumerate() {
            paste(
                &mut paper,
                image,
                (left + column * (tile_width + GAP), y),
                scale,
            );
        }
    }
    picture::png(&paper)
}

/// Copies a picture, every pixel `scale` times in both directions.
fn paste(paper: &mut Image, image: &Image, (left, top): (usize, usize), scale: usize) {
    let width = paper.width();
    for row in 0..image.height() * scale {
        for column in 0..image.width() * scale {
            let start = ((top + row) * width + left + column) * 3;
            let color = image.pixel(row / scale, column / scale);
            paper.data_mut()[start..start + 3].copy_from_slice(&color);
        }
    }
}

/// The rows side by side, column after column; a row that is shorter stays at its last picture. None where nothing moves.
fn moving(strip: &Filmstrip) -> Result<Option<picture::Encoded>> {
    let shrunk = |image| picture::within(image, MOVING_PIXELS);
    let rows = strip.rows.iter();
    let rows: Vec<Vec<_>> = rows
        .map(|row| row.images.iter().map(shrunk).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    if columns < 2 || rows.iter().any(Vec::is_empty) {
        return Ok(None);
    }
    let images = || rows.iter().flatten();
    let (Some(height), Some(width)) = (
        images().map(Image::height).max(),
        images().map(Image::width).max(),
    ) else {
        return Ok(None);
    };
    let frame = |column: usize| {
        let mut paper = Image::filled(height, rows.len() * (width + GAP) - GAP, PAPER);
        for (index, images) in rows.iter().enumerate() {
            let image = &images[column.min(images.len() - 1)];
            paste(&mut paper, image, (index * (width + GAP), 0), 1);
        }
        paper
    };
    let frames: Vec<_> = (0..columns).map(frame).collect();
    picture::moving(&frames, DELAY_MILLISECONDS).map(Some)
}

/// The filmstrip as HTML: the rows moving side by side, above a table that scrolls sideways where the screen is narrow.
///
/// # Errors
///
/// [`Error::Picture`] when an encoder fails.
pub fn html(strip: &Filmstrip) -> Result<String> {
    let mut html = String::new();
    write_to(
        &mut html,
        format_args!("<figure class=\"film\"><h3>{}</h3>", escape(&strip.title)),
    );
    if let Some(moving) = moving(strip)? {
        let labels = strip.rows.iter().map(|row| escape(&row.label));
        let labels = labels.collect::<Vec<_>>().join(" beside ");
        let uri = moving.data_uri();
        write_to(
            &mut html,
            format_args!("<img class=\"moving\" alt=\"{labels}, moving\" src=\"{uri}\">"),
        );
    }
    html += "<div class=\"scroll\"><table>";
    if !strip.columns.is_empty() {
        html += "<thead><tr><td></td>";
        for head in &strip.columns {
            write_to(
                &mut html,
                format_args!("<th scope=\"col\">{}</th>", escape(head)),
            );
        }
        html += "</tr></thead>";
    }
    html += "<tbody>";
    for row in &strip.rows {
        let label = escape(&row.label);
        write_to(
            &mut html,
            format_args!("<tr><th scope=\"row\">{label}</th>"),
        );
        for (index, image) in row.images.iter().enumerate() {
            let head = strip
                .columns
                .get(index)
                .map_or_else(String::new, |head| escape(head));
            let uri = picture::smallest(image)?.data_uri();
            write_to(
                &mut html,
                format_args!("<td><img alt=\"{label} {head}\" src=\"{uri}\"></td>"),
            );
        }
        html += "</tr>";
    }
    write_to(
        &mut html,
        format_args!(
            "</tbody></table></div><figcaption>{}</figcaption></figure>",
            escape(&strip.caption)
        ),
    );
    Ok(html)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::AnimationDecoder as _;
    use image::codecs::png::PngDecoder;
    use std::io::Cursor;

    fn strip() -> Filmstrip {
        let row = |label: &str, color, count| FilmRow {
            label: label.to_owned(),
            images: vec![Image::filled(16, 16, color); count],
        };
        Filmstrip {
            title: "<two rooms>".to_owned(),
            columns: vec!["+1".to_owned(), "+2".to_owned()],
            rows: vec![row("real", [255, 0, 0], 2), row("imagined", [0, 255, 0], 1)],
            ..Filmstrip::default()
        }
    }

    #[test]
    fn a_still_has_every_tile_in_place() {
        let still = image::load_from_memory(&png(&strip()).unwrap())
            .unwrap()
            .to_rgb8();
        let left = 8 * 12 + 2 * GAP as u32;
        let (width, height) = still.dimensions();
        assert_eq!(width, left + 2 * (128 + GAP as u32));
        assert_eq!(height, 14 + 2 * GAP as u32 + 2 * (128 + GAP as u32));
        assert_eq!(still.get_pixel(left + 1, 30).0, [255, 0, 0]);
        assert_eq!(still.get_pixel(left + 1, height - 20).0, [0, 255, 0]);
        assert_eq!(still.get_pixel(width - 20, height - 20).0, PAPER);
    }

    #[test]
    fn a_strip_without_pictures_is_refused() {
        let empty = Filmstrip {
            rows: vec![FilmRow::default()],
            ..Filmstrip::default()
        };
        let error = png(&empty).unwrap_err().to_string();
        assert!(error.contains("at least one picture"), "{error}");
    }

    #[test]
    fn rows_move_side_by_side_and_a_shorter_one_waits() {
        let encoded = moving(&strip()).unwrap().unwrap();
        let decoder = PngDecoder::new(Cursor::new(encoded.bytes)).unwrap();
        let frames = decoder.apng().unwrap().into_frames();
        let last = frames.last().unwrap().unwrap().into_buffer();
        assert_eq!(last.dimensions(), (2 * 16 + GAP as u32, 16));
        assert_eq!(last.get_pixel(0, 0).0[..3], [255, 0, 0]);
        assert_eq!(last.get_pixel(16 + GAP as u32, 0).0[..3], [0, 255, 0]);
    }

    #[test]
    fn one_picture_does_not_move() {
        let mut strip = strip();
        strip.rows[0].images.truncate(1);
        assert_eq!(moving(&strip).unwrap(), None);
        strip.rows[1].images.clear();
        assert_eq!(moving(&strip).unwrap(), None);
    }

    #[test]
    fn a_page_holds_every_picture() {
        let html = html(&strip()).unwrap();
        assert_eq!(html.matches("<img alt").count(), 3);
        assert_eq!(html.matches("<img class=\"moving\"").count(), 1);
        assert!(html.contains("&lt;two rooms&gt;") && !html.contains("<two"));
    }
}
