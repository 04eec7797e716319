//! The data of ONNX tensors: inline, typed, or in a file beside the model.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

use crate::bundle::{GraphSource, ModelGraph};
use crate::kernels::{half, map_file};

/// Finds the bytes of tensors; maps each external file once.
pub(super) struct TensorReader {
    dir: Option<PathBuf>,
    maps: HashMap<String, Mmap>,
}

impl TensorReader {
    /// A reader for the tensors of `graph`.
    pub fn new(graph: &ModelGraph) -> Self {
        let dir = match &graph.source {
            GraphSource::File(path) => path.parent().map(Path::to_path_buf),
            GraphSource::Embedded(_) => None,
        };
        Self { dir, maps: HashMap::new() }
    }

    /// The raw little-endian bytes of a tensor.
    ///
    /// # Errors
    /// A sentence that names the tensor, when its data is missing or too short.
    pub fn bytes<'a>(&'a mut self, tensor: &'a TensorProto) -> Result<Cow<'a, [u8]>, String> {
        if tensor.external_data.is_empty() {
            return Ok(inline_bytes(tensor));
        }
        let field = |key: &str| {
            tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &*entry.value)
        };
        let number = |key: &str| match field(key) {
            None => Ok(None),
            Some(text) => text
                .parse::<usize>()
                .map(Some)
                .map_err(|_| format!("tensor {}: {key} `{text}` is no number", tensor.name)),
        };
        let location = field("location")
            .ok_or_else(|| format!("tensor {}: external data without location", tensor.name))?
            .to_owned();
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let map = self.map(&location).map_err(|why| format!("tensor {}: {why}", tensor.name))?;
        let end = length.map_or(Some(map.len()), |length| offset.checked_add(length));
        end.and_then(|end| map.get(offset..end)).map(Cow::Borrowed).ok_or_else(|| {
            format!("tensor {}: {location} is too short, {} bytes", tensor.name, map.len())
        })
    }

    fn map(&mut self, location: &str) -> Result<&Mmap, String> {
        if !self.maps.contains_key(location) {
            let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if !Path::new(location).components().all(inside) {
                return Err(format!("external data `{location}` is outside the model's folder"));
            }
            let dir = self.dir.as_ref().ok_or("an embedded model has no external data")?;
            let path = dir.join(location);
            let map = File::open(&path)
                .and_then(|file| map_file(&file))
                .map_err(|error| format!("{}: {error}", path.display()))?;
            self.maps.insert(location.to_owned(), map);
        }
        Ok(&self.maps[location])
    }

    /// A tensor of floats of any width.
    ///
    /// # Errors
    /// A sentence that names the tensor, when it holds something else.
    pub fn floats(&mut self, tensor: &TensorProto) -> Result<Vec<f32>, String> {
        let float = FloatType::of(tensor)?;
        let bytes = self.bytes(tensor)?;
        let count = elements(tensor);
        if bytes.len() < count * float.size() {
            return Err(format!(
                "tensor {}: {} bytes for {count} floats",
                tensor.name,
                bytes.len()
            ));
        }
        Ok((0..count).map(|index| float.read(&bytes, index)).collect())
    }

    /// Moves external data into the tensor itself.
    ///
    /// # Errors
    /// As [`TensorReader::bytes`].
    pub fn make_inline(&mut self, tensor: &mut TensorProto) -> Result<(), String> {
        if !tensor.external_data.is_empty() {
            tensor.raw_data = self.bytes(tensor)?.into_owned();
            tensor.external_data.clear();
            tensor.data_location = None;
        }
        Ok(())
    }
}

/// Elements of a tensor by its shape.
pub(super) fn elements(tensor: &TensorProto) -> usize {
    tensor.dims.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).product()
}

/// A dimension of a tensor; 0 where it has none.
pub(super) fn dim(tensor: &TensorProto, axis: usize) -> usize {
    tensor.dims.get(axis).and_then(|dim| usize::try_from(*dim).ok()).unwrap_or(0)
}

/// How a tensor stores floats.
#[derive(Debug, Clone, Copy)]
pub(super) enum FloatType {
    F32,
    F16,
    BF16,
}

impl FloatType {
    /// The float type of a tensor.
    ///
    /// # Errors
    /// A sentence that names the tensor, when it holds something else.
    pub fn of(tensor: &TensorProto) -> Result<Self, String> {
        match DataType::try_from(tensor.data_type) {
            Ok(DataType::Float) => Ok(Self::F32),
            Ok(DataType::Float16) => Ok(Self::F16),
            Ok(DataType::Bfloat16) => Ok(Self::BF16),
            other => Err(format!("tensor {}: {other:?} instead of floats", tensor.name)),
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        if matches!(self, Self::F32) { 4 } else { 2 }
    }

    /// Element `index` of a byte string.
    #[inline]
    pub fn read(self, bytes: &[u8], index: usize) -> f32 {
        let at = index * self.size();
        let short = || u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        match self {
            Self::F32 => {
                f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            }
            Self::F16 => half::to_f32(short()),
            Self::BF16 => f32::from_bits(u32::from(short()) << 16),
        }
    }
}

/// The data of a tensor without a file, whichever field holds it.
fn inline_bytes(tensor: &TensorProto) -> Cow<'_, [u8]> {
    if !tensor.raw_data.is_empty() {
        return Cow::Borrowed(&tensor.raw_data);
    }
    let ints = &tensor.int32_data;
    let bytes: Vec<u8> = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Int32) => ints.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Ok(DataType::Float16 | DataType::Bfloat16) => {
            ints.iter().flat_map(|value| (*value as u16).to_le_bytes()).collect()
        }
        Ok(DataType::Int64) => {
            tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        Ok(DataType::Float) => {
            tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        _ => ints.iter().map(|value| *value as u8).collect(),
    };
    Cow::Owned(bytes)
}
