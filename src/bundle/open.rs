//! Opening a bundle: every file located, parsed, and held against the others.

use super::configs::{self, ModelConfig};
use super::error::BundleError;
use super::external;
use super::files::{CONFIG_LIMIT, EmbeddedFile, Files, hex, is_inside, parse_json};
use super::fixed;
use super::generation::{Gatherer, Generation, GenerationFile};
use super::graph::{GraphSource, ModelGraph};
use super::layout::{Layout, choose_graph};
use super::manifest::{self, FixedSpec, Golden, LatencySpec, MANIFEST, Manifest};
use super::map;
use super::onnx::{GraphProto, ModelProto};
use super::ports;
use super::task::Task;
use super::text_files::{self, TextFiles};
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const GENERATION: &str = "generation_config.json";

/// A model, ready for an engine to load.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// How its files are arranged.
    pub layout: Layout,
    /// The manifest's name, else the directory's.
    pub name: String,
    /// The manifest's version.
    pub version: Option<String>,
    /// The manifest's counter against going back; none: 0.
    pub counter: u64,
    /// How fast it must be where it is installed.
    pub latency: LatencySpec,
    /// The manifest's licence: an SPDX expression.
    pub license: Option<String>,
    /// The decoder's ports.
    pub graph: ModelGraph,
    /// Tokenizer and chat template.
    pub text: TextFiles,
    /// End tokens and sampling defaults.
    pub generation: Generation,
    /// The manifest's tasks, by name.
    pub tasks: Vec<Task>,
    /// The task of a prompt that names none.
    pub default_task: Option<String>,
    /// Answers that the model must give.
    pub goldens: Vec<Golden>,
    /// The files in use with their bytes, sorted by name.
    pub files: Vec<(String, u64)>,
    /// The bytes of all files in use.
    pub total_bytes: u64,
    /// SHA-256 over names and contents of the files in use, in hex: the identity of the model.
    pub hash: String,
    /// Whether a manifest vouched for every file.
    pub verified: bool,
}

impl Bundle {
    /// Opens the model in directory `path`; `variant` picks one of several graphs.
    ///
    /// # Errors
    /// [`BundleError`], with the file at fault.
    pub fn open(path: impl AsRef<Path>, variant: Option<&str>) -> Result<Self, BundleError> {
        Self::open_within(path, variant, None)
    }

    /// [`Bundle::open`]; without `variant` takes the first graph of [`super::VARIANTS`] whose
    /// files fit into `memory_bytes`.
    ///
    /// # Errors
    /// [`BundleError`], with the file at fault.
    pub fn open_within(
        path: impl AsRef<Path>,
        variant: Option<&str>,
        memory_bytes: Option<u64>,
    ) -> Result<Self, BundleError> {
        let path = &resolved(path.as_ref());
        let shown = path.display().to_string();
        match path.metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let hint = "no model directory of that name".to_owned();
                return Err(BundleError::Missing { file: shown, hint });
            }
            Err(e) => return Err(BundleError::io(shown, &e)),
            Ok(m) if !m.is_dir() => {
                return Err(BundleError::field(shown, "model", "a directory", "a file"));
            }
            Ok(_) => {}
        }
        open(&Files::Dir(path.to_owned()), variant, memory_bytes)
    }

    /// Opens a model whose files are in the binary.
    ///
    /// # Errors
    /// [`BundleError`], with the file at fault.
    pub fn embedded(files: &'static [EmbeddedFile]) -> Result<Self, BundleError> {
        open(&Files::Embedded(files), None, None)
    }

    /// The project's own small model, which the binary carries.
    ///
    /// # Errors
    /// Only if the binary was built from damaged files.
    #[cfg(feature = "default-model")]
    pub fn default_model() -> Result<Self, BundleError> {
        Self::embedded(super::default::FILES)
    }

    /// The task of that name.
    pub fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.iter().find(|t| t.name == name)
    }
}

/// What a link stands for now: it may be switched to another model while the files are read.
fn resolved(path: &Path) -> PathBuf {
    match path.is_symlink() {
        true => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        false => path.to_owned(),
    }
}

fn open(
    files: &Files,
    variant: Option<&str>,
    memory_bytes: Option<u64>,
) -> Result<Bundle, BundleError> {
    let layout = Layout::detect(files)?;
    let manifest = manifest::read(files)?;
    if let Some(manifest) = &manifest {
        manifest::verify(files, manifest)?;
    }
    let config = match layout {
        Layout::GenAi | Layout::Slmd => configs::genai(files)?,
        Layout::Transformers => configs::hf(files)?,
    };
    let read = match manifest.as_ref().and_then(|m| m.r#static.as_ref()) {
        Some(spec) => read_pair(files, spec, &config, variant)?,
        None => {
            let name = graph_name(files, &config, variant, memory_bytes)?;
            read_graph(files, &name, &config)?
        }
    };
    let text = text_files::read(files)?;
    let generation = generation(files, &config, read.graph.vocab_size)?;
    let used = used_files(files, &read);
    let tasks = match &manifest {
        None => Vec::new(),
        Some(manifest) => {
            manifest::check_kv(files, manifest, read.graph.kv())?;
            used.keys().try_for_each(|name| manifest::covers(files, manifest, name))?;
            manifest::tasks(files, manifest)?
        }
    };
    let hash = content_hash(files, manifest.as_ref(), used.keys())?;
    let fallback_name = directory_name(files);
    Ok(Bundle {
        layout,
        name: manifest.as_ref().map_or(fallback_name, |m| m.name.clone()),
        version: manifest.as_ref().map(|m| m.version.clone()),
        counter: manifest.as_ref().and_then(|m| m.counter).unwrap_or(0),
        latency: manifest.as_ref().map_or_else(LatencySpec::default, |m| m.latency),
        license: manifest.as_ref().and_then(|m| m.license.clone()),
        graph: read.graph,
        text,
        generation,
        tasks,
        default_task: manifest.as_ref().and_then(|m| m.default_task.clone()),
        verified: manifest.is_some(),
        goldens: manifest.map_or_else(Vec::new, |m| m.golden),
        total_bytes: used.values().sum(),
        files: used.into_iter().collect(),
        hash,
    })
}

fn graph_name(
    files: &Files,
    config: &ModelConfig,
    variant: Option<&str>,
    memory_bytes: Option<u64>,
) -> Result<String, BundleError> {
    let Some(name) = &config.graph else { return choose_graph(files, variant, memory_bytes) };
    let stem = Path::new(name).file_stem().and_then(|s| s.to_str()).unwrap_or(name);
    if let Some(wanted) = variant
        && wanted != stem
        && wanted != name
    {
        return Err(BundleError::Variant {
            dir: config.file.clone(),
            wanted: wanted.to_owned(),
            available: name.clone(),
        });
    }
    match is_inside(name) {
        true => Ok(name.clone()),
        false => {
            let field = "model.decoder.filename";
            Err(BundleError::field(
                &config.file,
                field,
                "a path inside the model's directory",
                name,
            ))
        }
    }
}

/// A graph and what it needs beside it.
struct ReadGraph {
    graph: ModelGraph,
    /// Its files and their external data, relative to the bundle.
    files: BTreeSet<String>,
}

fn read_graph(files: &Files, name: &str, config: &ModelConfig) -> Result<ReadGraph, BundleError> {
    let one = read_proto(files, name, &config.file)?;
    let graph = ports::discover(one.source, &one.shown, &one.proto, &config.expected)?;
    Ok(ReadGraph { graph, files: one.files })
}

/// The two graphs of fixed shapes that a manifest names.
fn read_pair(
    files: &Files,
    spec: &FixedSpec,
    config: &ModelConfig,
    variant: Option<&str>,
) -> Result<ReadGraph, BundleError> {
    let manifest = files.display(MANIFEST);
    if let Some(wanted) = variant {
        let available = format!("{} and {}, which belong together", spec.prefill, spec.decode);
        return Err(BundleError::Variant { dir: manifest, wanted: wanted.to_owned(), available });
    }
    let prefill = read_proto(files, &spec.prefill, &manifest)?;
    let decode = read_proto(files, &spec.decode, &manifest)?;
    let used = prefill.files.union(&decode.files).cloned().collect();
    let graph =
        fixed::discover([prefill.into(), decode.into()], spec, &config.expected, &manifest)?;
    Ok(ReadGraph { graph, files: used })
}

/// A graph's file, parsed.
struct ReadProto {
    source: GraphSource,
    shown: String,
    proto: GraphProto,
    files: BTreeSet<String>,
}

impl From<ReadProto> for fixed::Member {
    fn from(read: ReadProto) -> Self {
        Self { source: read.source, file: read.shown, proto: read.proto }
    }
}

/// Reads a graph that `said_by` names, and looks after its external data.
fn read_proto(files: &Files, name: &str, said_by: &str) -> Result<ReadProto, BundleError> {
    let shown = files.display(name);
    if !files.has(name) {
        let hint = format!("{said_by} names it");
        return Err(BundleError::Missing { file: shown, hint });
    }
    let mut used = BTreeSet::from([name.to_owned()]);
    match files {
        Files::Dir(root) => {
            let path = root.join(name);
            let mapped = map::map(&path).map_err(|e| BundleError::io(&shown, &e))?;
            let proto = decode(&shown, &mapped)?;
            let data = external::needed(&shown, &proto)?;
            let folder = path.parent().unwrap_or(root);
            external::check(&shown, folder, &data)?;
            let prefix = name.rsplit_once('/').map_or(String::new(), |(dir, _)| format!("{dir}/"));
            used.extend(data.into_keys().map(|n| format!("{prefix}{n}")));
            let source = GraphSource::File(path.clone());
            Ok(ReadProto { source, shown, proto, files: used })
        }
        Files::Embedded(all) => {
            let bytes = all.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, b)| *b);
            let proto = decode(&shown, bytes)?;
            if let Some(data) = external::needed(&shown, &proto)?.into_keys().next() {
                let problem = "an embedded model must hold its weights itself".to_owned();
                return Err(BundleError::External { file: shown, data, problem });
            }
            let source = GraphSource::Embedded(bytes);
            Ok(ReadProto { source, shown, proto, files: used })
        }
    }
}

fn decode(file: &str, bytes: &[u8]) -> Result<GraphProto, BundleError> {
    let broken = |problem: String| BundleError::Graph { file: file.to_owned(), problem };
    if bytes.is_empty() {
        return Err(broken("the file is empty".into()));
    }
    let model = ModelProto::decode(bytes).map_err(|e| {
        broken(format!("{e} (truncated after {} bytes, or another format?)", bytes.len()))
    })?;
    let graph = model.graph.ok_or_else(|| broken("it holds no graph".into()))?;
    // Written after the graph: without it the end of the file is missing.
    match model.opset_import.is_empty() {
        true => {
            Err(broken(format!("it names no operator set: truncated after {} bytes?", bytes.len())))
        }
        false => Ok(graph),
    }
}

fn generation(
    files: &Files,
    config: &ModelConfig,
    vocab_size: usize,
) -> Result<Generation, BundleError> {
    let mut gatherer = Gatherer::new(vocab_size);
    if let Some(bytes) = files.read(GENERATION, CONFIG_LIMIT)? {
        let file = files.display(GENERATION);
        let says: GenerationFile = parse_json(&file, &bytes)?;
        gatherer.file(&file, "", &says)?;
    }
    if let Some((prefix, search)) = &config.search {
        gatherer.file(&config.file, prefix, search)?;
    }
    let (prefix, ids) = &config.ids;
    gatherer.ids(&config.file, prefix, ids)?;
    Ok(gatherer.finish())
}

/// The files that make the model, with their bytes.
fn used_files(files: &Files, graph: &ReadGraph) -> BTreeMap<String, u64> {
    let fixed = [configs::GENAI, configs::HF, GENERATION, MANIFEST];
    let names: BTreeSet<&str> = fixed
        .into_iter()
        .chain(text_files::NAMES)
        .chain(graph.files.iter().map(String::as_str))
        .collect();
    names.into_iter().filter_map(|n| files.size(n).map(|size| (n.to_owned(), size))).collect()
}

fn content_hash<'a>(
    files: &Files,
    manifest: Option<&Manifest>,
    used: impl Iterator<Item = &'a String>,
) -> Result<String, BundleError> {
    let mut hash = Sha256::new();
    for name in used {
        // Verified a moment ago: no second pass over the weights.
        let one = match manifest.and_then(|m| m.files.get(name)) {
            Some(known) => known.clone(),
            None => files.sha256(name)?,
        };
        hash.update(format!("{one}  {name}\n"));
    }
    Ok(hex(&hash.finalize()))
}

fn directory_name(files: &Files) -> String {
    let Files::Dir(root) = files else { return "embedded".into() };
    let real = root.canonicalize().unwrap_or_else(|_| root.clone());
    real.file_name().map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned())
}

#[cfg(test)]
#[path = "open_tests.rs"]
pub(super) mod tests;
