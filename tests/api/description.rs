//! The API description before judges that nobody here wrote: a validator, and a tester that makes up requests to a live gateway.
//!
//! Both are Python's; `tests/run` installs them, of the versions in `tests/openapi/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Gateway;
use crate::support::gateway::file;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Returns one of the programs that `tests/run` has installed.
fn program(name: &str) -> PathBuf {
    let program = Path::new(ROOT).join("target/python-openapi/bin").join(name);
    assert!(program.exists(), "{} is missing; tests/run installs it", program.display());
    program
}

/// Runs a program, and asserts that it is content.
async fn assert_content(mut command: Command) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_valid_openapi() {
    let gateway = Gateway::start().await;
    let document = reqwest::get(gateway.url("/v1/openapi.json")).await.unwrap().text().await.unwrap();
    let (_directory, path) = file(&document);
    let mut validator = Command::new(program("openapi-spec-validator"));
    validator.arg(&path);
    assert_content(validator).await;
}

/// Has schemathesis make up requests for a gateway in the demo, `examples` for each operation, with all checks on.
async fn assert_as_described(examples: u32) {
    let (directory, config) = file(
        "[[clients]]\nid = \"web\"\nclaims = [\"name\"]\nflows = [\"login\", \"share\"]\n\
         [[clients]]\nid = \"app\"\nredirect_uris = [\"https://app.example/cb\"]\nsigning_alg = \"ES256\"\n\
         secret = \"0123456789abcdef0123456789abcdef0123\"\n",
    );
    let gateway =
        Gateway::builder().own_identity().arg("--demo", "true").arg("--config", config.to_str().unwrap()).start().await;
    for name in ["schemathesis.toml", "hooks.py"] {
        std::fs::copy(Path::new(ROOT).join("tests/openapi").join(name), directory.path().join(name)).unwrap();
    }
    let mut tester = Command::new(program("schemathesis"));
    tester
        .args(["--config-file", "schemathesis.toml"])
        .args(["run", &gateway.url("/v1/openapi.json"), "--continue-on-failure", "--no-color"])
        .args(["--max-examples", &examples.to_string()])
        .env("GATEWAY", &gateway.base)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // It keeps what it learns where it runs. Nothing of one run is to change another.
        .current_dir(directory.path());
    assert_content(tester).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_requests_are_answered_as_described() {
    assert_as_described(10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; tests/run --soak"]
async fn many_made_up_requests_are_answered_as_described() {
    assert_as_described(300).await;
}
