//! QR codes: SVG and PNG for pages, block characters for a terminal.
//!
//! A code contains only the scan URL. It has the quiet zone of four modules that scanners need
//! (ISO/IEC 18004 §6.3.8), and is black on white regardless of the page around it.

mod logo;

use std::fmt::Write as _;

use png::{BitDepth, ColorType, Compression, Encoder};
use qrcode::render::unicode::Dense1x2;
use qrcode::{Color, EcLevel, QrCode};

use logo::Picture;
pub use logo::{Logo, LogoError};

/// The bounds of a picture's side, in pixels.
pub const SIZES: std::ops::RangeInclusive<u32> = 64..=1024;
/// The default side of a picture, in pixels.
pub const DEFAULT_SIZE: u32 = 320;

const QUIET_ZONE: usize = 4;
/// The fraction of the width that a logo may cover, which is 4 % of the area; level H corrects 30 %.
const LOGO_SHARE: f32 = 0.2;
/// The white margin around a logo, in pixels.
const LOGO_MARGIN: usize = 2;

/// The value of a pixel, which is also its index in a palette.
const WHITE: u8 = 0;
const BLACK: u8 = 1;

/// The reason why a code could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum QrError {
    /// The URL does not fit into a code.
    #[error("the scan URL does not fit into a QR code: {0}")]
    TooLong(#[from] qrcode::types::QrError),
    /// The PNG could not be encoded.
    #[error("cannot encode the PNG: {0}")]
    Picture(#[from] png::EncodingError),
}

/// Draws `url` as an SVG of `size` pixels. Every module is the same whole number of pixels wide at this size and its multiples;
/// other sizes are sharp as well.
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
    // If the size is not a multiple, the white margin grows, so that all modules have the same width.
    let canvas = whole.max(usize::try_from(size).unwrap_or(whole));
    let scale = canvas / whole;
    let margin = (canvas - whole * scale) / 2;
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size}\" height=\"{size}\" viewBox=\"0 0 {canvas} {canvas}\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{canvas}v{canvas}H0z\"/><g \
         transform=\"translate({margin} {margin}) scale({scale})\"><path fill=\"#000\" d=\"{path}\"/>{logo}</g></svg>"
    ))
}

/// Draws `url` as a PNG of `size` × `size` pixels, or more if the code needs them. Every module is the same whole number of
/// pixels wide. A pixel takes one bit, or with a logo one byte of a palette: the encoding time depends on the number of bytes.
///
/// # Errors
/// [`QrError`].
pub fn png(url: &str, size: u32, logo: Option<&Logo>) -> Result<Vec<u8>, QrError> {
    let code = encode(url, logo.is_some())?;
    let mut canvas = Canvas::new(&code, size as usize);
    let picture = logo.and_then(|logo| canvas.overlay(logo));
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

/// Draws `url` in half-block characters, for a terminal with a dark background.
///
/// # Errors
/// [`QrError`].
pub fn terminal(url: &str) -> Result<String, QrError> {
    let code = encode(url, false)?;
    // The colours are swapped: the blocks draw the light modules, because most terminals have a dark background.
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

/// A square of pixels, one byte each.
struct Canvas {
    side: usize,
    /// The side of the code with its quiet zone, in pixels.
    code: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(code: &QrCode, wanted: usize) -> Self {
        let modules = code.width() + 2 * QUIET_ZONE;
        let scale = (wanted / modules).max(1);
        let whole = modules * scale;
        // If the size is not a multiple, the white margin grows, so that modules stay sharp.
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

    /// Draws the logo in the middle, as large as allowed. Returns the picture used, or `None` if none fits.
    fn overlay<'a>(&mut self, logo: &'a Logo) -> Option<&'a Picture> {
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

    /// Returns the rows with one bit per pixel; 1 is white.
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
