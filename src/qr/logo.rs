//! A client's logo: read, checked and scaled once, at startup, so that drawing it on a code only copies pixels.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use png::{ColorType, Decoder, Limits, Transformations};
use resize::Pixel::RGB8;
use resize::Type::Triangle;
use resize::px::RGB;

/// The largest side of the picture in a logo file, in pixels.
const MAX_FILE_SIDE: u32 = 2048;
/// The maximum memory for decoding a logo, in bytes: the largest picture with four channels of 8 bits.
const MAX_DECODED_BYTES: usize = 4 * (MAX_FILE_SIDE as usize).pow(2);
/// The sizes in which a logo is kept: the lengths of the longer side, in pixels. A code uses the largest one that fits, so a logo
/// is at most a fifth smaller than allowed. All sizes together take 120 KB. The last one fits the largest code.
const SIDES: [usize; 15] = [8, 10, 12, 16, 20, 24, 32, 40, 48, 60, 76, 96, 120, 152, 192];
const LARGEST_SIDE: usize = SIDES[SIDES.len() - 1];
/// The maximum number of colours besides black and white, so that one byte can index all.
const MAX_COLORS: usize = 254;
/// The index of the first of these colours, after white and black.
pub(super) const FIRST_COLOR: u8 = 2;

/// A logo for the middle of a code.
#[derive(Clone)]
pub struct Logo {
    /// The PNG file, unchanged.
    pub png: Bytes,
    /// The file as a `data:` URI.
    pub(super) data_uri: String,
    /// The scaled pictures, the largest first.
    pictures: Vec<Picture>,
}

/// A logo in one size, on white.
#[derive(Clone)]
pub(super) struct Picture {
    pub(super) width: usize,
    /// Rows of indices into the palette, from [`FIRST_COLOR`].
    pub(super) pixels: Vec<u8>,
    /// At most [`MAX_COLORS`].
    pub(super) palette: Vec<[u8; 3]>,
}

/// The reason why a logo could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogoError {
    /// It is not a PNG, or is corrupt.
    #[error("cannot decode it as a PNG: {0}")]
    Decoding(#[from] png::DecodingError),
    /// It has too many pixels, or none.
    #[error("it has more than {MAX_FILE_SIDE} × {MAX_FILE_SIDE} pixels")]
    Size,
    /// It could not be scaled.
    #[error("cannot scale it: {0}")]
    Scaling(#[from] resize::Error),
}

impl std::fmt::Debug for Logo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Logo({} bytes)", self.png.len())
    }
}

impl Logo {
    /// Reads a PNG.
    ///
    /// # Errors
    /// [`LogoError`]. The size is checked before memory is allocated, because a small file may claim a large picture.
    pub fn from_png(png: Vec<u8>) -> Result<Self, LogoError> {
        let (size, pixels) = decode(&png)?;
        // Only the largest size is scaled from the original picture. The others are scaled from that size, which takes less time.
        let (size, pixels) = scaled(&pixels, size, LARGEST_SIDE)?;
        let picture = |side| {
            let ((width, _), pixels) = scaled(&pixels, size, side)?;
            Ok(Picture::new(width, &pixels))
        };
        let pictures = SIDES.into_iter().rev().map(picture).collect::<Result<_, LogoError>>()?;
        let data_uri = format!("data:image/png;base64,{}", STANDARD.encode(&png));
        Ok(Self { png: png.into(), data_uri, pictures })
    }

    /// Returns the largest picture that fits into a square of this side; `None` if the square is too small for any.
    pub(super) fn fitting(&self, side: usize) -> Option<&Picture> {
        self.pictures.iter().find(|picture| picture.width.max(picture.height()) <= side)
    }
}

/// A picture's width and height.
type Size = (usize, usize);

fn decode(png: &[u8]) -> Result<(Size, Vec<RGB<u8>>), LogoError> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(png), Limits { bytes: MAX_DECODED_BYTES });
    decoder.set_transformations(Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info()?;
    let (width, height) = (header.width, header.height);
    if width > MAX_FILE_SIDE || height > MAX_FILE_SIDE {
        return Err(LogoError::Size);
    }
    let mut reader = decoder.read_info()?;
    let bytes = reader.output_buffer_size().filter(|&bytes| bytes <= MAX_DECODED_BYTES).ok_or(LogoError::Size)?;
    let mut buffer = vec![0; bytes];
    let frame = reader.next_frame(&mut buffer)?;
    let samples = buffer.get(..frame.buffer_size()).unwrap_or_default();
    let on_white = |value: u8, alpha: u8| {
        let blended = (u32::from(value) * u32::from(alpha) + 255 * u32::from(255 - alpha)) / 255;
        u8::try_from(blended).unwrap_or(u8::MAX)
    };
    let pixels = match frame.color_type {
        ColorType::Grayscale | ColorType::Indexed => samples.iter().map(|&gray| RGB::new(gray, gray, gray)).collect(),
        ColorType::GrayscaleAlpha => {
            let gray = |pixel: &[u8]| on_white(pixel[0], pixel[1]);
            samples.chunks_exact(2).map(gray).map(|gray| RGB::new(gray, gray, gray)).collect()
        }
        ColorType::Rgb => samples.chunks_exact(3).map(|pixel| RGB::new(pixel[0], pixel[1], pixel[2])).collect(),
        ColorType::Rgba => {
            let color = |pixel: &[u8]| {
                let [red, green, blue] = [0, 1, 2].map(|index| on_white(pixel[index], pixel[3]));
                RGB::new(red, green, blue)
            };
            samples.chunks_exact(4).map(color).collect()
        }
    };
    Ok(((width as usize, height as usize), pixels))
}

/// Scales a picture so that its longer side has `side` pixels.
fn scaled(pixels: &[RGB<u8>], (width, height): Size, side: usize) -> Result<(Size, Vec<RGB<u8>>), LogoError> {
    let longer = width.max(height).max(1);
    let (across, down) = ((width * side / longer).max(1), (height * side / longer).max(1));
    let mut small = vec![RGB::new(0, 0, 0); across * down];
    resize::new(width, height, across, down, RGB8, Triangle)?.resize(pixels, &mut small)?;
    Ok(((across, down), small))
}

impl Picture {
    /// Creates a picture with a palette: all its colours if one byte can index them, otherwise the colours with fewer bits.
    fn new(width: usize, pixels: &[RGB<u8>]) -> Self {
        let mut colors: Vec<[u8; 3]> = pixels.iter().map(|pixel| [pixel.r, pixel.g, pixel.b]).collect();
        let mut palette = distinct(&colors);
        // Two bits of each channel make 64 colours.
        for dropped in 1..=6 {
            if palette.len() <= MAX_COLORS {
                break;
            }
            for color in &mut colors {
                // The centre of the range of values that map to this colour.
                *color = color.map(|value| (value >> dropped << dropped) | (1 << (dropped - 1)));
            }
            palette = distinct(&colors);
        }
        let index = |color: &[u8; 3]| {
            let at = palette.binary_search(color).unwrap_or_default();
            FIRST_COLOR + u8::try_from(at).unwrap_or_default()
        };
        Self { width, pixels: colors.iter().map(index).collect(), palette }
    }

    pub(super) fn height(&self) -> usize {
        self.pixels.len() / self.width
    }
}

fn distinct(colors: &[[u8; 3]]) -> Vec<[u8; 3]> {
    let mut all = colors.to_vec();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32, color: ColorType, pixels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        bytes
    }

    #[test]
    fn a_logo_that_is_not_a_png_is_refused() {
        assert!(Logo::from_png(b"<svg/>".to_vec()).is_err());
    }

    #[test]
    fn a_small_file_with_a_large_picture_is_refused_before_memory_is_allocated() {
        let bomb = png(2049, 2048, ColorType::Grayscale, &vec![0; 2049 * 2048]);
        assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
        assert!(matches!(Logo::from_png(bomb), Err(LogoError::Size)));
        let mut claims = png(1, 1, ColorType::Rgba, &[0; 4]);
        claims[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        assert!(Logo::from_png(claims).is_err());
        let cut = png(900, 900, ColorType::Grayscale, &vec![0; 900 * 900]);
        assert!(Logo::from_png(cut[..cut.len() / 2].to_vec()).is_err());
    }

    #[test]
    fn every_kind_of_png_is_read_on_white() {
        for (color, pixel, expected) in [
            (ColorType::Grayscale, vec![40], [40; 3]),
            (ColorType::GrayscaleAlpha, vec![0, 0], [255; 3]),
            (ColorType::Rgb, vec![200, 30, 30], [200, 30, 30]),
            (ColorType::Rgba, vec![200, 30, 30, 255], [200, 30, 30]),
        ] {
            let logo = Logo::from_png(png(50, 20, color, &pixel.repeat(1000))).unwrap();
            let picture = logo.fitting(100).unwrap();
            assert_eq!((picture.width, picture.height()), (96, 38), "{color:?}");
            assert_eq!(picture.palette, [expected], "{color:?}");
        }
        let logo = Logo::from_png(png(1, 2048, ColorType::Grayscale, &[0; 2048])).unwrap();
        assert_eq!(logo.fitting(8).map(|picture| (picture.width, picture.height())), Some((1, 8)));
        assert!(logo.fitting(7).is_none());
    }

    #[test]
    fn a_picture_of_many_colors_has_a_palette_that_one_byte_can_index() {
        let color = |number: u16| {
            let [low, high] = number.to_le_bytes();
            [low, high, low ^ high]
        };
        let pixels: Vec<u8> = (0..=u16::MAX).flat_map(color).collect();
        let logo = Logo::from_png(png(256, 256, ColorType::Rgb, &pixels)).unwrap();
        for picture in &logo.pictures {
            assert!((1..=MAX_COLORS).contains(&picture.palette.len()), "{}", picture.palette.len());
            assert!(picture.pixels.iter().all(|&index| usize::from(index - FIRST_COLOR) < picture.palette.len()));
        }
        assert!(logo.pictures[0].palette.len() > 32, "too few are left: {}", logo.pictures[0].palette.len());
    }
}
