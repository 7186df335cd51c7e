//! PNG pictures: what is in them, and plain ones.

use std::io::Cursor;

use png::{ColorType, Decoder, Encoder, Transformations};

/// A picture that was read.
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// How many bits each pixel has in the file.
    pub bits: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    pub fn of(png: &[u8]) -> Self {
        let mut decoder = Decoder::new(Cursor::new(png));
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().unwrap();
        let info = reader.info();
        let bits = info.bits_per_pixel();
        let mut buffer = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut buffer).unwrap();
        let color = |pixel: &[u8]| match *pixel {
            [gray] | [gray, _] => [gray; 3],
            [red, green, blue, ..] => [red, green, blue],
            [] => unreachable!(),
        };
        let pixels = buffer[..frame.buffer_size()].chunks(frame.color_type.samples()).map(color).collect();
        Self { width: frame.width as usize, height: frame.height as usize, bits, pixels }
    }

    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.width + x]
    }

    /// Returns what the one QR code in it says, if it can be read.
    pub fn code(&self) -> Option<String> {
        let gray = |x, y| {
            let [red, green, blue] = self.pixel(x, y).map(u32::from);
            u8::try_from((red * 2 + green * 5 + blue) / 8).unwrap()
        };
        let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(self.width, self.height, gray);
        let grids = prepared.detect_grids();
        assert!(grids.len() < 2, "there are {} codes in the picture", grids.len());
        grids.first().and_then(|grid| grid.decode().ok()).map(|(_, text)| text)
    }
}

/// Returns a PNG of one colour.
pub fn plain(width: u32, height: u32, color: [u8; 3]) -> Vec<u8> {
    let mut png = Vec::new();
    let mut encoder = Encoder::new(&mut png, width, height);
    encoder.set_color(ColorType::Rgb);
    let pixels = color.repeat(width as usize * height as usize);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    png
}
