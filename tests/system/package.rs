//! A package of this build's program, or of the one that `TAGALONG_PACKED` names: `tests/run` gives the static one, as a release has it.

use std::{env, path::Path, process::Command};

use crate::bind::missing;

/// Builds `kind` of package, as if it were `version`.
pub(crate) fn build(kind: &str, version: &str, to: &Path) {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    // As a release is: without symbols, which would make it ten times as large.
    let program = to.with_file_name("tagalong");
    let mut strip = Command::new("strip");
    let packed = env::var_os("TAGALONG_PACKED");
    let packed = packed.unwrap_or_else(|| env!("CARGO_BIN_EXE_tagalong").into());
    strip.arg("-o").arg(&program).arg(packed);
    assert!(strip.status().unwrap_or_else(|error| missing("strip", &error)).success());
    let mut command = Command::new(packaging.join(kind).join("build"));
    command.arg(&program).arg(to).env("VERSION", version).envs(SETTINGS);
    let built = command.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// A time, and little work for those who compress.
pub(crate) const SETTINGS: [(&str, &str); 4] = [
    ("SOURCE_DATE_EPOCH", "1790000000"),
    ("DPKG_DEB_COMPRESSOR_TYPE", "gzip"),
    ("DPKG_DEB_COMPRESSOR_LEVEL", "1"),
    ("RPM_PAYLOAD", "w1.gzdio"),
];
