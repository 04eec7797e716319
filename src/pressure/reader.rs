//! What the kernel says: thermal zones, clocks, stalls, batteries, supply voltage.
//!
//! What a machine does not have is absent, what cannot be read or makes no sense is left out, and
//! neither is an error. Which files there are is found out once; a reading then opens only those
//! that change.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// No file of these is longer.
const FILE_LIMIT: u64 = 4096;
/// Temperatures outside of this are no temperatures, in thousandths of a degree Celsius: a sensor
/// that is off says 0 kelvin or the greatest number.
const PLAUSIBLE_MILLI_C: std::ops::RangeInclusive<i32> = -60_000..=150_000;
/// Trip points below this are not about a processor that is too hot: some firmware has them at room
/// temperature.
const LEAST_TRIP_MILLI_C: i32 = 60_000;
/// A clock below this share of what it may be is held back, in per cent, if there is work.
const SLOW_PERCENT: u64 = 70;
/// The same for the limit against the highest that was ever seen: a limit that the owner has set
/// was there from the beginning.
const CAPPED_PERCENT: u64 = 95;

/// A thermal zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its folder, which tells it from others of its kind.
    pub name: Arc<str>,
    /// What it measures: `cpu-thermal`, for example.
    pub kind: Arc<str>,
    /// Thousandths of a degree Celsius.
    pub milli_c: i32,
    /// Where the kernel acts.
    pub trips: Trips,
}

/// Where the kernel acts on a zone's temperature; the lowest of each kind, in thousandths of a
/// degree Celsius (Linux, Documentation/driver-api/thermal/sysfs-api.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trips {
    /// It begins to hold the processor back.
    pub passive_milli_c: Option<i32>,
    /// It shuts the machine down.
    pub critical_milli_c: Option<i32>,
}

/// The battery that the machine runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Battery {
    /// How full it is.
    pub percent: u8,
    /// Whether it is being drained.
    pub is_discharging: bool,
    /// Whether it says so itself that it is about to end.
    pub is_critical: bool,
}

/// What was read at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Those that could be read.
    pub zones: Vec<Zone>,
    /// The processor's clock against what it may be, in per cent, of the fastest cores.
    pub clock_percent: Option<u64>,
    /// Whether the processor's clock is held back.
    pub is_throttled: bool,
    /// Per cent of the last ten seconds in which some task waited for the processor, for memory, for
    /// disks (Linux, Documentation/accounting/psi.rst).
    pub cpu_stall_percent: Option<f32>,
    /// For memory.
    pub memory_stall_percent: Option<f32>,
    /// For disks.
    pub io_stall_percent: Option<f32>,
    /// The emptiest.
    pub battery: Option<Battery>,
    /// Whether the board says that its supply voltage is too low.
    pub is_undervolted: bool,
}

impl Reading {
    /// The hottest zone, in thousandths of a degree Celsius.
    pub fn hottest_milli_c(&self) -> Option<i32> {
        self.zones.iter().map(|zone| zone.milli_c).max()
    }
}

/// The files that there are.
#[derive(Debug)]
pub struct Reader {
    root: PathBuf,
    zones: Vec<(PathBuf, Zone)>,
    clocks: Vec<Clock>,
    batteries: Vec<PathBuf>,
    alarms: Vec<PathBuf>,
}

/// Cores that share one clock.
#[derive(Debug)]
struct Clock {
    folder: PathBuf,
    highest_limit: u64,
}

impl Reader {
    /// Looks for the files under `root`: `/`, or a folder of the same layout.
    pub fn new(root: &Path) -> Self {
        let thermal = entries(&root.join("sys/class/thermal"), "thermal_zone");
        let supplies = entries(&root.join("sys/class/power_supply"), "");
        let sensors = entries(&root.join("sys/class/hwmon"), "hwmon");
        let alarms = sensors.iter().map(|folder| folder.join("in0_lcrit_alarm"));
        Self {
            root: root.to_owned(),
            zones: thermal.into_iter().filter_map(zone).collect(),
            clocks: clocks(root),
            batteries: supplies.into_iter().filter(|folder| is_battery(folder)).collect(),
            alarms: alarms.filter(|alarm| alarm.exists()).collect(),
        }
    }

    /// Reads what changes. Whether there is work decides if a slow clock means anything.
    pub fn read(&mut self, is_busy: bool) -> Reading {
        let zones = self.zones.iter().filter_map(|(file, zone)| {
            let milli_c = number(file).filter(|t| PLAUSIBLE_MILLI_C.contains(t))?;
            Some(Zone { milli_c, ..zone.clone() })
        });
        let zones = zones.collect();
        let is_capped = self.clocks.iter_mut().any(Clock::is_capped);
        let clock_percent = self.clocks.iter().filter_map(Clock::percent).max();
        let is_slow = is_busy && clock_percent.is_some_and(|percent| percent < SLOW_PERCENT);
        Reading {
            zones,
            clock_percent,
            is_throttled: is_capped || is_slow,
            cpu_stall_percent: self.stall("cpu"),
            memory_stall_percent: self.stall("memory"),
            io_stall_percent: self.stall("io"),
            battery: self.batteries.iter().filter_map(|b| battery(b)).min_by_key(|b| b.percent),
            is_undervolted: self.alarms.iter().any(|alarm| number(alarm) == Some(1)),
        }
    }

    fn stall(&self, what: &str) -> Option<f32> {
        let text = text(&self.root.join("proc/pressure").join(what))?;
        let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let average = some.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
        average.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
    }
}

impl Clock {
    fn is_capped(&mut self) -> bool {
        let Some(limit) = number::<u64>(&self.folder.join("scaling_max_freq")) else {
            return false;
        };
        self.highest_limit = self.highest_limit.max(limit);
        limit.saturating_mul(100) < self.highest_limit.saturating_mul(CAPPED_PERCENT)
    }

    fn percent(&self) -> Option<u64> {
        let now: u64 = number(&self.folder.join("scaling_cur_freq"))?;
        now.saturating_mul(100).checked_div(self.highest_limit).map(|percent| percent.min(100))
    }
}

/// Its file of the temperature, and what does not change. A zone without a name is told by its
/// folder.
fn zone(folder: PathBuf) -> Option<(PathBuf, Zone)> {
    let name: Arc<str> = folder.file_name()?.to_str()?.into();
    let kind = text(&folder.join("type")).map(|kind| kind.trim().into());
    let trips = trips(&folder);
    let file = folder.join("temp");
    let kind = kind.filter(|kind: &Arc<str>| !kind.is_empty()).unwrap_or_else(|| Arc::clone(&name));
    Some((file, Zone { name, kind, milli_c: 0, trips }))
}

fn trips(folder: &Path) -> Trips {
    let mut trips = Trips::default();
    for index in 0.. {
        let Some(kind) = text(&folder.join(format!("trip_point_{index}_type"))) else { break };
        let temperature = number(&folder.join(format!("trip_point_{index}_temp")));
        let plausible = LEAST_TRIP_MILLI_C..=*PLAUSIBLE_MILLI_C.end();
        let Some(milli_c) = temperature.filter(|t| plausible.contains(t)) else { continue };
        let lowest = match kind.trim() {
            "passive" => &mut trips.passive_milli_c,
            "critical" => &mut trips.critical_milli_c,
            _ => continue,
        };
        *lowest = Some(lowest.map_or(milli_c, |before: i32| before.min(milli_c)));
    }
    trips
}

/// The clocks of all cores; those that share one have the same folder.
fn clocks(root: &Path) -> Vec<Clock> {
    let cores = entries(&root.join("sys/devices/system/cpu"), "cpu");
    let mut folders: Vec<PathBuf> =
        cores.into_iter().filter_map(|core| core.join("cpufreq").canonicalize().ok()).collect();
    folders.sort();
    folders.dedup();
    // `cpu/cpufreq` itself holds those that the cores point to.
    folders.retain(|folder| folder.join("scaling_max_freq").exists());
    let limit = |folder: &Path| number(&folder.join("scaling_max_freq")).unwrap_or(0);
    folders.into_iter().map(|folder| Clock { highest_limit: limit(&folder), folder }).collect()
}

/// A battery of the machine, not of a mouse.
fn is_battery(folder: &Path) -> bool {
    let says = |file: &str, word: &str| text(&folder.join(file)).is_some_and(|t| t.trim() == word);
    says("type", "Battery") && !says("scope", "Device")
}

fn battery(folder: &Path) -> Option<Battery> {
    let says = |file: &str, word: &str| text(&folder.join(file)).is_some_and(|t| t.trim() == word);
    let is_critical = says("capacity_level", "Critical");
    let percent = number(&folder.join("capacity")).filter(|percent| *percent <= 100);
    let percent = percent.or(is_critical.then_some(0))?;
    Some(Battery { percent, is_discharging: says("status", "Discharging"), is_critical })
}

/// What is in the folder and begins so.
fn entries(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = found
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(begin))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

fn number<T: std::str::FromStr>(file: &Path) -> Option<T> {
    text(file)?.trim().parse().ok()
}

fn text(file: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(file).ok()?.take(FILE_LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
