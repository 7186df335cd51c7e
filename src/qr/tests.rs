//! Tests of the codes: a decoder reads them at every size.

use std::io::Cursor;

use super::*;

const URL: &str = "https://gate.example.com/s/AAAAAAAAAAAAAAAAAAAAAA";

/// A PNG's side, and its pixels in grey.
fn pixels(png: &[u8]) -> (usize, Vec<u8>) {
    let mut decoder = png::Decoder::new(Cursor::new(png));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().unwrap();
    let mut buffer = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut buffer).unwrap();
    assert_eq!(frame.width, frame.height);
    let gray = buffer.chunks(frame.color_type.samples()).map(|pixel| pixel[pixel.len() / 2]);
    (frame.width as usize, gray.collect())
}

/// Returns the text that a decoder reads. Each pixel of a small code is enlarged, as a camera sees it.
fn read(png: &[u8]) -> Option<String> {
    let (side, gray) = pixels(png);
    let zoom = if side < 256 { 4 } else { 1 };
    let at = |x: usize, y: usize| gray[y / zoom * side + x / zoom];
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(side * zoom, side * zoom, at);
    picture.detect_grids().first()?.decode().ok().map(|(_, text)| text)
}

fn logo() -> Logo {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 40, 40);
    encoder.set_color(ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&[200, 30, 30].repeat(1600)).unwrap();
    Logo::from_png(bytes).unwrap()
}

/// The sizes of one scale differ only in the white around the code, so the first and the last of each scale represent all. The
/// first, with the least white, is the hardest to read.
#[test]
fn every_size_is_exact_and_reads_as_its_url_with_and_without_a_logo() {
    let logo = logo();
    for logo in [None, Some(&logo)] {
        let modules = u32::try_from(encode(URL, logo.is_some()).unwrap().width() + 2 * QUIET_ZONE).unwrap();
        let scales = SIZES.start() / modules..=SIZES.end() / modules;
        assert!(scales.clone().count() > 15);
        for scale in scales {
            let first = (modules * scale).max(*SIZES.start());
            let last = (modules * (scale + 1) - 1).min(*SIZES.end());
            for size in [first, first + 1, last] {
                let png = png(URL, size, logo).unwrap();
                assert_eq!(u32::from_be_bytes(png[16..20].try_into().unwrap()), size);
                if size != first + 1 {
                    assert_eq!(read(&png).as_deref(), Some(URL), "{size} pixels, logo: {}", logo.is_some());
                }
            }
        }
    }
}

#[test]
fn a_picture_has_one_bit_for_each_pixel_and_few_bytes() {
    let plain = png(URL, *SIZES.end(), None).unwrap();
    assert_eq!(plain[24..26], [1, 0], "depth and kind");
    assert!(plain.len() < 32 * 1024, "{} bytes", plain.len());
    let with_logo = png(URL, *SIZES.end(), Some(&logo())).unwrap();
    assert_eq!(with_logo[24..26], [8, 3], "a palette");
    assert!(with_logo.len() < 128 * 1024, "{} bytes", with_logo.len());
}

#[test]
fn a_code_that_needs_more_pixels_than_requested_gets_them() {
    let url = format!("{URL}{}", "A".repeat(150));
    let png = png(&url, *SIZES.start(), Some(&logo())).unwrap();
    assert!(pixels(&png).0 > 64);
    assert_eq!(read(&png), Some(url));
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
fn the_svg_has_the_logo_in_its_middle() {
    let svg = svg(URL, DEFAULT_SIZE, Some(&logo())).unwrap();
    assert!(svg.contains("<image ") && svg.contains("href=\"data:image/png;base64,iVBORw0KGgo"), "{svg}");
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
