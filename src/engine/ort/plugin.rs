//! Plugin providers: libraries of their own, registered with ONNX Runtime 1.22 and newer.
//!
//! The `ort` crate is built for the API of 1.21, which Debian 13 ships. The calls for plugins came
//! with 1.22 and are looked up at run time, so that one binary serves both: the table of functions
//! only ever grows at its end (`onnxruntime_c_api.h`, "versioning"). All `unsafe` of it is here.

use super::ffi::{check, text};
use super::library::Library;
use crate::core::provider::{DeviceKind, Provider, short};
use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::sys;
use std::collections::BTreeSet;
use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::null;
use std::sync::{Mutex, PoisonError};

/// The API level that has the calls.
pub const API_LEVEL: u32 = 22;

// The fields below follow the last one of 1.21.
const _: () = assert!(sys::ORT_API_VERSION == 21);

type EpDevice = c_void;
type Hardware = c_void;
type Words = *const *const c_char;

/// `OrtApi` up to `EpDevice_Device`.
#[repr(C)]
struct Api22 {
    up_to_21: sys::OrtApi,
    /// `ReleaseValueInfo` to `GetCompileApi`.
    other: [*const c_void; 10],
    /// `CreateKeyValuePairs` to `ReleaseKeyValuePairs`.
    key_values: [*const c_void; 6],
    register: unsafe extern "C" fn(*mut sys::OrtEnv, *const c_char, Path8) -> sys::OrtStatusPtr,
    unregister: *const c_void,
    devices: unsafe extern "C" fn(
        *const sys::OrtEnv,
        *mut *const *const EpDevice,
        *mut usize,
    ) -> sys::OrtStatusPtr,
    append: unsafe extern "C" fn(
        *mut sys::OrtSessionOptions,
        *mut sys::OrtEnv,
        *const *const EpDevice,
        usize,
        Words,
        Words,
        usize,
    ) -> sys::OrtStatusPtr,
    policies: [*const c_void; 2],
    hardware_kind: unsafe extern "C" fn(*const Hardware) -> i32,
    hardware_vendor_id: *const c_void,
    hardware_vendor: unsafe extern "C" fn(*const Hardware) -> *const c_char,
    hardware_device_id: unsafe extern "C" fn(*const Hardware) -> u32,
    hardware_metadata: *const c_void,
    ep_name: unsafe extern "C" fn(*const EpDevice) -> *const c_char,
    ep_vendor: unsafe extern "C" fn(*const EpDevice) -> *const c_char,
    ep_metadata: *const c_void,
    ep_options: *const c_void,
    ep_hardware: unsafe extern "C" fn(*const EpDevice) -> *const Hardware,
}

/// `ORTCHAR_T`, which on Unix is a byte.
type Path8 = *const c_char;

/// A device that a provider offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The provider, as it is written.
    pub provider: String,
    /// Who made the provider.
    pub maker: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Who made the device.
    pub vendor: String,
    /// The maker's number of the device.
    pub id: u32,
}

/// Registers the plugin of `provider` and lets `builder` use its devices.
///
/// # Errors
/// The reason, for people: an old library, no plugin there, no such device.
pub fn attach(
    builder: &mut SessionBuilder,
    library: &Library,
    provider: &Provider,
    plugin: &Path,
) -> Result<(), String> {
    let api = api(library)?;
    register(api, library, provider, plugin)?;
    let all = pointers(api, library)?;
    let ours: Vec<*const EpDevice> =
        all.iter().copied().filter(|device| is_of(api, *device, provider)).collect();
    if ours.is_empty() {
        return Err(no_device(api, &all, provider, plugin));
    }
    let words = |texts: Vec<&String>| -> Result<Vec<CString>, String> {
        texts.into_iter().map(|text| super::ffi::name(text)).collect()
    };
    let keys = words(provider.options.keys().collect())?;
    let values = words(provider.options.values().collect())?;
    let pointers = |words: &[CString]| words.iter().map(|w| w.as_ptr()).collect::<Vec<_>>();
    let (key_pointers, value_pointers) = (pointers(&keys), pointers(&values));
    // SAFETY: all pointers are valid for the call, the lists are as long as said, and the devices
    // are those of this environment.
    unsafe {
        check((api.append)(
            builder.ptr_mut(),
            library.environment.ptr().cast_mut(),
            ours.as_ptr(),
            ours.len(),
            key_pointers.as_ptr(),
            value_pointers.as_ptr(),
            keys.len(),
        ))
    }
}

/// Every device that the library and the plugins registered so far have found.
///
/// # Errors
/// An old library.
pub fn devices(library: &Library) -> Result<Vec<Device>, String> {
    let api = api(library)?;
    Ok(pointers(api, library)?.into_iter().map(|device| describe(api, device)).collect())
}

/// Plugins registered with the one environment of this process.
static REGISTERED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn register(
    api: &Api22,
    library: &Library,
    provider: &Provider,
    plugin: &Path,
) -> Result<(), String> {
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if registered.contains(plugin) {
        return Ok(());
    }
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|e| e.to_string());
    let path = text(plugin.as_os_str().as_bytes())?;
    // Some plugins (QNN's) call their provider by the name that they are registered under.
    let name = text(provider.canonical().as_bytes())?;
    // SAFETY: the environment lives as long as the process; both strings outlive the call.
    unsafe {
        let environment = library.environment.ptr().cast_mut();
        check((api.register)(environment, name.as_ptr(), path.as_ptr()))?;
    }
    registered.insert(plugin.to_owned());
    Ok(())
}

/// The table of functions, if the library is new enough.
fn api(library: &Library) -> Result<&'static Api22, String> {
    let level = API_LEVEL;
    let old = || format!("plugin providers need ONNX Runtime 1.{level}; it is {}", library.version);
    if library.minor < level {
        return Err(old());
    }
    let base = base(&library.path).ok_or_else(old)?;
    // SAFETY: `base` is the library's own table; a version that it does not have gives null.
    let api = unsafe { (base.GetApi)(API_LEVEL) }.cast::<Api22>();
    // SAFETY: the table of this version has at least the fields of `Api22`, and is static.
    unsafe { api.as_ref() }.ok_or_else(old)
}

/// `OrtGetApiBase` of the library, which is loaded already.
fn base(path: &Path) -> Option<&'static sys::OrtApiBase> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: the library is loaded and stays so; the symbol is the entry point that every ONNX
    // Runtime exports with this signature, and what it returns is static.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        let symbol = (!handle.is_null()).then(|| libc::dlsym(handle, c"OrtGetApiBase".as_ptr()))?;
        if symbol.is_null() {
            return None;
        }
        let entry: unsafe extern "C" fn() -> *const sys::OrtApiBase = std::mem::transmute(symbol);
        entry().as_ref()
    }
}

fn pointers(api: &Api22, library: &Library) -> Result<Vec<*const EpDevice>, String> {
    let (mut list, mut count) = (null(), 0);
    // SAFETY: the environment is alive; the list belongs to it and is copied at once.
    unsafe {
        check((api.devices)(library.environment.ptr(), &mut list, &mut count))?;
        match list.is_null() {
            true => Ok(Vec::new()),
            false => Ok(std::slice::from_raw_parts(list, count).to_vec()),
        }
    }
}

fn describe(api: &Api22, device: *const EpDevice) -> Device {
    // SAFETY: `device` is one of the environment's, and so is its hardware; strings are static or
    // live as long as the device.
    unsafe {
        let hardware = (api.ep_hardware)(device);
        Device {
            provider: short(&text((api.ep_name)(device))),
            maker: text((api.ep_vendor)(device)),
            kind: match (api.hardware_kind)(hardware) {
                1 => DeviceKind::Gpu,
                2 => DeviceKind::Npu,
                _ => DeviceKind::Cpu,
            },
            vendor: text((api.hardware_vendor)(hardware)),
            id: (api.hardware_device_id)(hardware),
        }
    }
}

fn is_of(api: &Api22, device: *const EpDevice, provider: &Provider) -> bool {
    let found = describe(api, device);
    found.provider == short(provider.canonical())
        && provider.device.is_none_or(|kind| kind == found.kind)
}

fn no_device(api: &Api22, all: &[*const EpDevice], provider: &Provider, plugin: &Path) -> String {
    let found: BTreeSet<String> = all
        .iter()
        .map(|device| describe(api, *device))
        .map(|d| format!("{} on {}", d.provider, d.kind.name()))
        .collect();
    let found: Vec<String> = found.into_iter().collect();
    let kind = provider.device.map_or(String::new(), |kind| format!(" on {}", kind.name()));
    format!(
        "{} offers no device of {}{kind}; there is {}",
        plugin.display(),
        provider.name,
        found.join(", ")
    )
}
