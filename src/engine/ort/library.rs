//! Where ONNX Runtime's library is, and loading it once for the process.

use crate::engine::LoadError;
use ort::environment::Environment;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The oldest ONNX Runtime whose C API this build can use (feature `api-21` of the `ort` crate).
pub const OLDEST_MINOR: u32 = 21;

/// The library in use.
#[derive(Debug)]
pub struct Library {
    /// The file.
    pub path: PathBuf,
    /// `1.N`.
    pub version: String,
    /// N, which is also the level of its API.
    pub minor: u32,
    pub(super) environment: Environment,
}

/// A place where the library may be, and why we look there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The file or, in a search folder, the newest match.
    pub path: PathBuf,
    /// The reason, for people.
    pub why: &'static str,
}

/// The places in the order of preference, whether or not something is there.
pub fn candidates() -> Vec<Candidate> {
    let mut places = Vec::new();
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        places.push(Candidate { path: path.into(), why: "ORT_DYLIB_PATH" });
        return places;
    }
    let mut folder = |dir: PathBuf, why| places.push(Candidate { path: in_folder(&dir), why });
    if let Ok(exe) = std::env::current_exe()
        && let Some(dir) = exe.parent()
    {
        folder(dir.to_path_buf(), "beside the executable");
    }
    if let Some(cache) = cache_home() {
        folder(cache.join("slmd/lib"), "where the README's command puts it");
    }
    folder("/usr/lib/slmd".into(), "slmd's package");
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    for dir in [multiarch.as_str(), "/usr/lib64", "/usr/lib", "/usr/local/lib"] {
        folder(dir.into(), "the distribution's library path");
    }
    places
}

fn cache_home() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))
}

/// `libonnxruntime.so` in `dir`, or the highest version of it there.
fn in_folder(dir: &Path) -> PathBuf {
    let plain = dir.join("libonnxruntime.so");
    if plain.exists() {
        return plain;
    }
    let versions = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let minor = |path: &Path| -> Option<u32> {
        let name = path.file_name()?.to_str()?.strip_prefix("libonnxruntime.so.1.")?;
        name.split('.').next()?.parse().ok()
    };
    versions
        .map(|e| e.path())
        .max_by_key(|p| minor(p))
        .filter(|p| minor(p).is_some())
        .unwrap_or(plain)
}

/// The first candidate that exists.
pub fn find() -> Option<Candidate> {
    candidates().into_iter().find(|c| c.path.exists())
}

static LOADED: OnceLock<Result<Library, LoadError>> = OnceLock::new();

/// Loads the library, once; every later call gives the same.
///
/// # Errors
/// [`LoadError::Library`] with what was looked for, or what is wrong with what was found.
pub fn load() -> Result<&'static Library, LoadError> {
    LOADED.get_or_init(load_now).as_ref().map_err(Clone::clone)
}

fn load_now() -> Result<Library, LoadError> {
    let Some(found) = find() else {
        let looked: Vec<String> =
            candidates().iter().map(|c| format!("{} ({})", c.path.display(), c.why)).collect();
        return Err(LoadError::Library(format!(
            "no ONNX Runtime library: looked for {}; set ORT_DYLIB_PATH, or use the tract engine",
            looked.join(", ")
        )));
    };
    let path = found.path;
    let fault = |problem: String| LoadError::Library(format!("{}: {problem}", path.display()));
    let minor = ort::util::probe(&path)
        .ok_or_else(|| fault("not an ONNX Runtime 1.x library, or it cannot be loaded".into()))?;
    if minor < OLDEST_MINOR {
        return Err(fault(format!("ONNX Runtime 1.{minor} is older than 1.{OLDEST_MINOR}")));
    }
    let environment = ort::init_from(&path)
        .map_err(|e| fault(e.to_string()))?
        .with_name("slmd")
        .with_telemetry(false)
        .build()
        .map_err(|e| fault(e.to_string()))?;
    environment.set_log_level(ort::logging::LogLevel::Error);
    Ok(Library { version: format!("1.{minor}"), minor, environment, path })
}
