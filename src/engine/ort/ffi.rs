//! The few calls of ONNX Runtime's C API that the `ort` crate has no cheap form of: tensors over
//! our own memory, bound in place, and the list of providers. All `unsafe` of this engine is here and
//! in `plugin`.
//!
//! Source: `onnxruntime_c_api.h`, `CreateTensorWithDataAsOrtValue`, `BindInput`, `BindOutput`,
//! `RunWithBinding`.

use crate::bundle::PortType;
use crate::core::provider::short;
use ort::AsPointer;
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::sys;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{NonNull, null_mut};

/// A block of zeroed memory at a fixed address, aligned for any element type, that lazily takes
/// pages as they are written.
#[derive(Debug)]
pub struct Block {
    start: NonNull<u8>,
    layout: std::alloc::Layout,
}

// SAFETY: a block is plain memory with one owner.
unsafe impl Send for Block {}

impl Block {
    /// `bytes` zero bytes.
    pub fn zeroed(bytes: usize) -> Self {
        let layout =
            std::alloc::Layout::from_size_align(bytes.max(1), 64).expect("below isize::MAX");
        // SAFETY: the layout has at least one byte.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { std::alloc::handle_alloc_error(layout) };
        Self { start, layout }
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// The contents as elements of a plain type.
    pub fn elements<T: Plain>(&self) -> &[T] {
        // SAFETY: the memory is initialised, aligned to 64, and any bits are a valid `T`.
        unsafe {
            std::slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes() / size_of::<T>())
        }
    }

    /// The contents as elements of a plain type.
    pub fn elements_mut<T: Plain>(&mut self) -> &mut [T] {
        // SAFETY: as in `elements`, and the borrow is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.start.as_ptr().cast(),
                self.bytes() / size_of::<T>(),
            )
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Types for which every bit pattern is a value.
pub trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for i32 {}
impl Plain for i64 {}
impl Plain for f32 {}

/// A tensor over part of a [`Block`].
#[derive(Debug)]
pub struct Tensor(NonNull<sys::OrtValue>);

// SAFETY: an OrtValue over user memory has no thread affinity.
unsafe impl Send for Tensor {}

impl Tensor {
    /// A tensor of `shape` over `block` from byte `offset` on.
    ///
    /// The caller keeps `block` alive for as long as a run may use the tensor; a block never moves.
    ///
    /// # Errors
    /// ONNX Runtime's message.
    pub fn over(
        block: &Block,
        offset: usize,
        shape: &[i64],
        element: PortType,
    ) -> Result<Self, String> {
        let count: i64 = shape.iter().product();
        let bytes = usize::try_from(count).map_err(|e| e.to_string())? * element.size();
        assert!(offset + bytes <= block.bytes(), "a tensor beyond its block");
        let mut value = null_mut();
        // SAFETY: the range was checked to lie within the block; the memory info is a valid
        // pointer for the whole process; `value` is checked for null.
        unsafe {
            check((ort::api().CreateTensorWithDataAsOrtValue)(
                memory_info()?,
                block.start.as_ptr().add(offset).cast(),
                bytes,
                shape.as_ptr(),
                shape.len(),
                element_type(element),
                &mut value,
            ))?;
        }
        NonNull::new(value).map(Self).ok_or_else(|| "ONNX Runtime gave no tensor".to_owned())
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: made by `over`, released once.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) }
    }
}

const fn element_type(element: PortType) -> sys::ONNXTensorElementDataType {
    use sys::ONNXTensorElementDataType as E;
    match element {
        PortType::F32 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        PortType::F16 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        PortType::I8 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        PortType::U8 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        PortType::U16 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        PortType::I32 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        PortType::I64 => E::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    }
}

struct MemoryInfo(NonNull<sys::OrtMemoryInfo>);
// SAFETY: a memory info is immutable after its creation.
unsafe impl Send for MemoryInfo {}
// SAFETY: as above.
unsafe impl Sync for MemoryInfo {}

/// The description of plain CPU memory, made once.
fn memory_info() -> Result<*mut sys::OrtMemoryInfo, String> {
    static INFO: std::sync::OnceLock<Result<MemoryInfo, String>> = std::sync::OnceLock::new();
    let made = INFO.get_or_init(|| {
        let mut info = null_mut();
        // SAFETY: `info` is checked for null.
        unsafe {
            check((ort::api().CreateCpuMemoryInfo)(
                sys::OrtAllocatorType::OrtDeviceAllocator,
                sys::OrtMemType::OrtMemTypeDefault,
                &mut info,
            ))?;
        }
        NonNull::new(info).map(MemoryInfo).ok_or_else(|| "no memory info".to_owned())
    });
    made.as_ref().map(|info| info.0.as_ptr()).map_err(Clone::clone)
}

/// Binds `tensor` as input `name`.
///
/// # Errors
/// ONNX Runtime's message.
pub fn bind_input(binding: &IoBinding, name: &CStr, tensor: &Tensor) -> Result<(), String> {
    // SAFETY: valid pointers; ONNX Runtime keeps a reference to the tensor of its own.
    unsafe {
        check((ort::api().BindInput)(binding.ptr().cast_mut(), name.as_ptr(), tensor.0.as_ptr()))
    }
}

/// Binds `tensor` as output `name`.
///
/// # Errors
/// ONNX Runtime's message.
pub fn bind_output(binding: &IoBinding, name: &CStr, tensor: &Tensor) -> Result<(), String> {
    // SAFETY: valid pointers; ONNX Runtime keeps a reference to the tensor of its own.
    unsafe {
        check((ort::api().BindOutput)(binding.ptr().cast_mut(), name.as_ptr(), tensor.0.as_ptr()))
    }
}

/// Runs the session over what is bound.
///
/// # Errors
/// ONNX Runtime's message, also when `options` were terminated.
pub fn run(
    session: &mut Session,
    options: &RunOptions<NoSelectedOutputs>,
    binding: &IoBinding,
) -> Result<(), String> {
    // SAFETY: valid pointers; the session is borrowed exclusively, so no other run is under way.
    unsafe {
        check((ort::api().RunWithBinding)(session.ptr().cast_mut(), options.ptr(), binding.ptr()))
    }
}

/// A name as the C API wants it.
///
/// # Errors
/// A name with a zero byte.
pub fn name(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("the name {text:?} has a zero byte"))
}

/// Turns a status into its message and releases it.
///
/// # Safety
/// `status` is null or a status that was not released.
pub unsafe fn check(status: sys::OrtStatusPtr) -> Result<(), String> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a live status, whose message lives as long; released once, after the copy.
    unsafe {
        let message = CStr::from_ptr((ort::api().GetErrorMessage)(status.0));
        let message = message.to_string_lossy().into_owned();
        (ort::api().ReleaseStatus)(status.0);
        Err(message)
    }
}

/// A string of ONNX Runtime's; null is an empty one.
///
/// # Safety
/// `pointer` is null or a string that ends with zero.
pub unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: by the contract.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// The providers inside the library, as they are written.
///
/// # Errors
/// ONNX Runtime's message.
pub fn built_in() -> Result<Vec<String>, String> {
    let (mut list, mut count) = (null_mut(), 0);
    // SAFETY: the list is ONNX Runtime's until it is released below; its strings end with zero.
    unsafe {
        check((ort::api().GetAvailableProviders)(&mut list, &mut count))?;
        let names = std::slice::from_raw_parts(list, usize::try_from(count).unwrap_or(0));
        let names = names.iter().map(|name| short(&text(*name))).collect();
        check((ort::api().ReleaseAvailableProviders)(list, count))?;
        Ok(names)
    }
}
