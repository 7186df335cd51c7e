//! Rebuilds the crate when a file of `static/`, which the binary contains, is added, changed or deleted; tells it how far it is
//! optimised.

fn main() {
    #[expect(clippy::disallowed_methods, reason = "how cargo speaks to a build script")]
    let opt_level = std::env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo::rustc-env=BUILD_OPT_LEVEL={opt_level}");
    println!("cargo::rerun-if-changed=static");
}
