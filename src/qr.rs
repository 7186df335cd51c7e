//! Ticket → QR code: SVG and PNG for pages, block characters for a terminal.
//!
//! What is encoded is the scan URL and nothing else. Codes carry the quiet zone of four modules that scanners need
//! (ISO/IEC 18004 §6.3.8) and are black on white whatever the page around them looks like.

mod logo;

use std::fmt::Write as _;

use png::{BitDepth, ColorType, Compression, Encoder};
use qrcode::render::unicode::Dense1x2;
use qrcode::{Color, EcLevel, QrCode};

use logo::Picture;
pub use logo::{Logo, LogoError};

/// The smallest and the largest picture, in pixels along a side.
pub const SIZES: std::ops::RangeInclusive<u32> = 64..=1024;
/// The size of a picture when none is asked for.
pub const DEFAULT_SIZE: u32 = 320;

const QUIET_ZONE: usize = 4;
/// The share of the width that a logo may cover: 4 % of the area, where level H restores 30 %.
const LOGO_SHARE: f32 = 0.2;
/// The white margin around a logo, in pixels.
const LOGO_MARGIN: usize = 2;

/// A pixel's value, also in a palette.
const WHITE: u8 = 0;
const BLACK: u8 = 1;

/// A code could not be made.
#[derive(Debug, thiserror::Error)]
pub enum QrError {
    /// The URL does not fit into a code.
    #[error("the scan URL does not fit into a QR code: {0}")]
    TooLong(#[from] qrcode::types::QrError),
    /// The picture could not be made.
    #[error("the picture could not be made: {0}")]
    Picture(#[from] png::EncodingError),
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

/// Draws `url` as a PNG of exactly `size` × `size` pixels, every module the same whole number of pixels wide. With one bit
/// for each pixel, or a palette where there is a logo: what takes time is the number of bytes.
///
/// # Errors
/// [`QrError`].
pub fn png(url: &str, size: u32, logo: Option<&Logo>) -> Result<Vec<u8>, QrError> {
    let code = encode(url, logo.is_some())?;
    let mut canvas = Canvas::of(&code, size as usize);
    let picture = logo.and_then(|logo| canvas.lay_over(logo));
    let width = u32::try_from(canvas.side).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, width);
    encoder.set_compression(Compression::Fastest);
    let pixels = if let Some(picture) = picture {
        let colors = [[255; 3], [0; 3]].iter().chain(&picture.palette);
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(colors.flatten().copied().collect::<Vec<u8>>());
        canvas.pixels
    } else {
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::One);
        canvas.bits()
    };
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
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

fn svg_logo(logo: &Logo, whole: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a code has at most 177 modules")]
    let whole = whole as f32;
    let side = whole * LOGO_SHARE;
    let at = (whole - side) / 2.0;
    format!(
        "<path fill=\"#fff\" d=\"M{0} {0}h{1}v{1}h-{1}z\"/><image x=\"{2}\" y=\"{2}\" width=\"{side}\" height=\"{side}\" \
         href=\"{3}\"/>",
        at - 0.5,
        side + 1.0,
        at,
        logo.data_uri
    )
}

/// A square of pixels, of one byte each.
struct Canvas {
    side: usize,
    /// How many pixels of the side the code takes, its quiet zone included.
    code: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn of(code: &QrCode, wanted: usize) -> Self {
        let modules = code.width() + 2 * QUIET_ZONE;
        let scale = (wanted / modules).max(1);
        let whole = modules * scale;
        // A size that is no multiple gets a wider white margin rather than blurred modules.
        let side = wanted.max(whole);
        let start = (side - whole) / 2 + QUIET_ZONE * scale;
        let mut pixels = vec![WHITE; side * side];
        for (row, colors) in code.to_colors().chunks(code.width()).enumerate() {
            let first = (start + row * scale) * side;
            for (column, _) in colors.iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
                let at = first + start + column * scale;
                pixels[at..at + scale].fill(BLACK);
            }
            for copy in 1..scale {
                pixels.copy_within(first..first + side, first + copy * side);
            }
        }
        Self { side, code: whole, pixels }
    }

    /// Puts the logo into the middle, as large as it may be; returns it if it fits.
    fn lay_over<'a>(&mut self, logo: &'a Logo) -> Option<&'a Picture> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most some thousand pixels"
        )]
        let side = (self.code as f32 * LOGO_SHARE) as usize;
        let picture = logo.fitting(side)?;
        let (width, height) = (picture.width, picture.height());
        let (left, top) = ((self.side - width) / 2, (self.side - height) / 2);
        for y in top - LOGO_MARGIN..top + height + LOGO_MARGIN {
            let at = y * self.side + left;
            self.pixels[at - LOGO_MARGIN..at + width + LOGO_MARGIN].fill(WHITE);
        }
        for (row, pixels) in picture.pixels.chunks(width).enumerate() {
            let at = (top + row) * self.side + left;
            self.pixels[at..at + width].copy_from_slice(pixels);
        }
        Some(picture)
    }

    /// Returns the rows with one bit for each pixel, of which 1 is white.
    fn bits(&self) -> Vec<u8> {
        let pack = |eight: &[u8]| {
            let bit = |(index, &pixel): (usize, &u8)| u8::from(pixel == WHITE) << (7 - index);
            eight.iter().enumerate().map(bit).sum::<u8>()
        };
        self.pixels.chunks(self.side).flat_map(|row| row.chunks(8).map(pack)).collect()
    }
}

#[cfg(test)]
mod tests;
