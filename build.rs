//! Has the crate built again when a file of `static/` is new, changed or gone: they are part of the binary.

fn main() {
    println!("cargo::rerun-if-changed=static");
}
