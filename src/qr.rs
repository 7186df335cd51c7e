//! Ticket → QR code: SVG and PNG for pages, block characters for a terminal.
//!
//! What is encoded is the scan URL and nothing else. Codes carry the quiet zone of four modules that scanners need
//! (ISO/IEC 18004 §6.3.8) and are black on white whatever the page around them looks like.

use std::fmt::Write as _;
use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, imageops};
use qrcode::render::unicode::Dense1x2;
use qrcode::{Color, EcLevel, QrCode};

/// The smallest and the largest picture, in pixels along a side.
pub const SIZES: std::ops::RangeInclusive<u32> = 64..=1024;
/// The size of a picture when none is asked for.
pub const DEFAULT_SIZE: u32 = 320;

const QUIET_ZONE: usize = 4;
/// The share of the width that a logo may cover: 4 % of the area, where level H restores 30 %.
const LOGO_SHARE: f32 = 0.2;

/// The largest side of a logo that is kept for drawing, in pixels: its share of the largest picture.
const MAX_LOGO_SIDE: u32 = 256;

/// A code could not be made.
#[derive(Debug, thiserror::Error)]
pub enum QrError {
    /// The URL does not fit into a code.
    #[error("the scan URL does not fit into a QR code: {0}")]
    TooLong(#[from] qrcode::types::QrError),
    /// The picture could not be made.
    #[error("the picture could not be made: {0}")]
    Image(#[from] image::ImageError),
}

/// A logo that is laid over the middle of a code.
#[derive(Clone)]
pub struct Logo {
    /// The file as it was read, a PNG.
    pub png: Vec<u8>,
    picture: DynamicImage,
}

impl std::fmt::Debug for Logo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Logo({}×{})", self.picture.width(), self.picture.height())
    }
}

impl Logo {
    /// Reads a PNG.
    ///
    /// # Errors
    /// [`QrError::Image`] if it is none.
    pub fn from_png(png: Vec<u8>) -> Result<Self, QrError> {
        let mut reader = image::ImageReader::with_format(Cursor::new(&png), ImageFormat::Png);
        let mut limits = image::Limits::default();
        limits.max_image_width = Some(2048);
        limits.max_image_height = Some(2048);
        limits.max_alloc = Some(32 * 1024 * 1024);
        reader.limits(limits);
        // Once, and not for every code: as large as the largest code needs it.
        let picture = reader.decode()?.thumbnail(MAX_LOGO_SIDE, MAX_LOGO_SIDE);
        Ok(Self { png, picture })
    }
}

/// Draws `url` as SVG of `size` pixels, every module the same whole number of them wide. It stays sharp at any other size, but
/// is best shown at this one, or at a multiple.
///
/// # Errors
/// [`QrError`].
pub fn svg(url: &str, size: u32, logo: Option<&Logo>) -> Result<String, QrError> {
    let code = encode(url, logo.is_some())?;
    let modules = code.width();
    let whole = modules + 2 * QUIET_ZONE;
    let mut path = String::new();
    for (row, colors) in code.to_colors().chunks(modules).enumerate() {
        let mut column = 0;
        for run in colors.chunk_by(|a, b| a == b) {
            if run[0] == Color::Dark {
                // Writing to a string does not fail.
                let (x, y, width) = (column + QUIET_ZONE, row + QUIET_ZONE, run.len());
                let _ = write!(path, "M{x} {y}h{width}v1h-{width}z");
            }
            column += run.len();
        }
    }
    let logo = logo.map(|logo| svg_logo(logo, whole)).unwrap_or_default();
    // A size that is no multiple gets a wider white margin rather than modules of several widths.
    let canvas = whole.max(usize::try_from(size).unwrap_or(whole));
    let scale = canvas / whole;
    let margin = (canvas - whole * scale) / 2;
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size}\" height=\"{size}\" viewBox=\"0 0 {canvas} {canvas}\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{canvas}v{canvas}H0z\"/><g \
         transform=\"translate({margin} {margin}) scale({scale})\"><path fill=\"#000\" d=\"{path}\"/>{logo}</g></svg>"
    ))
}

/// Draws `url` as a PNG of exactly `size` × `size` pixels, every module the same whole number of pixels wide.
///
/// # Errors
/// [`QrError`].
pub fn png(url: &str, size: u32, logo: Option<&Logo>) -> Result<Vec<u8>, QrError> {
    let code = encode(url, logo.is_some())?;
    let whole = u32::try_from(code.width() + 2 * QUIET_ZONE).unwrap_or(u32::MAX);
    let scale = (size / whole).max(1);
    // A size that is no multiple gets a wider white margin rather than blurred modules.
    let canvas = size.max(whole * scale);
    let margin = (canvas - whole * scale) / 2;
    let mut picture = GrayImage::from_pixel(canvas, canvas, Luma([255]));
    for (row, colors) in code.to_colors().chunks(code.width()).enumerate() {
        for (column, color) in colors.iter().enumerate() {
            if *color == Color::Dark {
                let at = |module: usize| margin + u32::try_from(module + QUIET_ZONE).unwrap_or(0) * scale;
                fill(&mut picture, at(column), at(row), scale);
            }
        }
    }
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::NoFilter);
    match logo {
        None => picture.write_with_encoder(encoder)?,
        Some(logo) => lay_over(&picture, whole * scale, logo).write_with_encoder(encoder)?,
    }
    Ok(bytes)
}

/// Draws `url` in half-block characters, dark on light, for a terminal of any colour.
///
/// # Errors
/// [`QrError`].
pub fn terminal(url: &str) -> Result<String, QrError> {
    let code = encode(url, false)?;
    // Swapped, because terminals are mostly dark: the blocks draw the light modules.
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

fn encode(url: &str, with_logo: bool) -> Result<QrCode, QrError> {
    let level = if with_logo { EcLevel::H } else { EcLevel::M };
    Ok(QrCode::with_error_correction_level(url, level)?)
}

fn fill(picture: &mut GrayImage, x: u32, y: u32, scale: u32) {
    for y in y..y + scale {
        for x in x..x + scale {
            picture.put_pixel(x, y, Luma([0]));
        }
    }
}

fn svg_logo(logo: &Logo, whole: usize) -> String {
    use base64::Engine as _;

    #[expect(clippy::cast_precision_loss, reason = "a code has at most 177 modules")]
    let whole = whole as f32;
    let side = whole * LOGO_SHARE;
    let at = (whole - side) / 2.0;
    let png = base64::engine::general_purpose::STANDARD.encode(&logo.png);
    format!(
        "<path fill=\"#fff\" d=\"M{0} {0}h{1}v{1}h-{1}z\"/><image x=\"{2}\" y=\"{2}\" width=\"{side}\" height=\"{side}\" \
         href=\"data:image/png;base64,{png}\"/>",
        at - 0.5,
        side + 1.0,
        at
    )
}

/// Returns the picture in colour with the logo in its middle; `code` is how many of its pixels the code takes.
fn lay_over(picture: &GrayImage, code: u32, logo: &Logo) -> RgbImage {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 1,024 pixels"
    )]
    let side = (code as f32 * LOGO_SHARE) as u32;
    let small = logo.picture.resize(side, side, imageops::FilterType::Triangle);
    let patch = side + 4;
    let middle = |outer: u32, inner: u32| i64::from(outer.saturating_sub(inner) / 2);
    let mut whole = DynamicImage::ImageLuma8(picture.clone()).into_rgb8();
    let white = RgbImage::from_pixel(patch, patch, Rgb([255; 3]));
    let (width, height) = whole.dimensions();
    imageops::replace(&mut whole, &white, middle(width, patch), middle(height, patch));
    let mut whole = DynamicImage::ImageRgb8(whole);
    imageops::overlay(&mut whole, &small, middle(width, small.width()), middle(height, small.height()));
    whole.into_rgb8()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://gate.example.com/s/AAAAAAAAAAAAAAAAAAAAAA";

    fn read(png: &[u8]) -> String {
        let picture = image::load_from_memory(png).unwrap().to_luma8();
        let mut picture = rqrr::PreparedImage::prepare(picture);
        let grids = picture.detect_grids();
        grids[0].decode().unwrap().1
    }

    fn logo() -> Logo {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_pixel(40, 40, Rgb([200, 30, 30])).write_to(&mut bytes, ImageFormat::Png).unwrap();
        Logo::from_png(bytes.into_inner()).unwrap()
    }

    #[test]
    fn a_picture_has_the_size_asked_for_and_reads_as_its_url() {
        for size in [200, 320, 777, *SIZES.end()] {
            let png = png(URL, size, None).unwrap();
            assert_eq!(image::load_from_memory(&png).unwrap().width(), size);
            assert_eq!(read(&png), URL);
        }
    }

    #[test]
    fn a_picture_with_a_logo_still_reads() {
        assert_eq!(read(&png(URL, 320, Some(&logo())).unwrap()), URL);
    }

    #[test]
    fn the_svg_draws_every_dark_module() {
        let code = encode(URL, false).unwrap();
        let dark = code.to_colors().iter().filter(|color| **color == Color::Dark).count();
        let svg = svg(URL, DEFAULT_SIZE, None).unwrap();
        let path = svg.split("fill=\"#000\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        let drawn: usize =
            path.split('M').skip(1).map(|run| run.split(['h', 'v']).nth(1).unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(drawn, dark);
    }

    #[test]
    fn every_module_of_the_svg_is_a_whole_number_of_its_pixels() {
        // From 25 to 57 modules.
        for chars in [10, 20, 50, 60, 90, 120, 200, 300] {
            let url = format!("https://{}/s/AAAAAAAAAAAAAAAAAAAAAA", "a".repeat(chars));
            let whole = encode(&url, false).unwrap().width() + 2 * QUIET_ZONE;
            for size in [248_u32, 320, 777] {
                let svg = svg(&url, size, None).unwrap();
                let number = |after: &str| {
                    let rest = svg.split(after).nth(1).unwrap();
                    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<usize>().unwrap()
                };
                let (canvas, scale, margin) = (number("viewBox=\"0 0 "), number("scale("), number("translate("));
                assert_eq!(canvas, usize::try_from(size).unwrap());
                assert_eq!(scale, canvas / whole, "as large as fits: {svg}");
                assert!(scale > 1 && 2 * margin <= canvas - whole * scale && canvas - whole * scale - 2 * margin < 2);
            }
        }
    }

    #[test]
    fn a_logo_that_is_no_png_is_refused() {
        assert!(Logo::from_png(b"<svg/>".to_vec()).is_err());
    }
}
