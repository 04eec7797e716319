use super::super::{Ladder, Level, Thermal, gauges};
use super::*;
use std::os::unix::fs::symlink;

/// A machine's `/sys` and `/proc`.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    fn zone(&self, index: usize, kind: &str, temp: &str, trips: &[(&str, i32)]) {
        let folder = format!("sys/class/thermal/thermal_zone{index}");
        self.write(&format!("{folder}/type"), format!("{kind}\n"));
        self.write(&format!("{folder}/temp"), format!("{temp}\n"));
        for (i, (kind, milli_c)) in trips.iter().enumerate() {
            self.write(&format!("{folder}/trip_point_{i}_type"), format!("{kind}\n"));
            self.write(&format!("{folder}/trip_point_{i}_temp"), format!("{milli_c}\n"));
        }
    }

    /// Reading it fails, as that of a sensor whose power is off does.
    fn unreadable(&self, path: &str) {
        let path = self.0.path().join(path);
        std::fs::remove_file(&path).expect("there");
        std::fs::create_dir(path).expect("a folder instead");
    }

    /// A clock that these cores share, in kilohertz: now, the limit.
    fn clock(&self, policy: usize, cores: std::ops::Range<usize>, now: u64, limit: u64) {
        let shared = format!("sys/devices/system/cpu/cpufreq/policy{policy}");
        self.write(&format!("{shared}/scaling_cur_freq"), format!("{now}\n"));
        self.write(&format!("{shared}/scaling_max_freq"), format!("{limit}\n"));
        for core in cores {
            let folder = self.0.path().join(format!("sys/devices/system/cpu/cpu{core}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            let link = folder.join("cpufreq");
            if !link.exists() {
                symlink(format!("../cpufreq/policy{policy}"), link).expect("a link");
            }
        }
    }

    fn reader(&self) -> Reader {
        Reader::new(self.0.path())
    }
}

fn level(reading: &Reading, thermal: &Thermal) -> Level {
    Ladder::new(0).step(0, &gauges(reading, 0, thermal))
}

const OWN: Thermal =
    Thermal { zones: Vec::new(), enter_milli_c: [None; 4], hysteresis_milli_c: 3_000 };

#[test]
fn a_raspberry_pi_5() {
    let pi = Machine::new();
    let fan = [50_000, 60_000, 67_500, 75_000].map(|t| ("active", t));
    let trips: Vec<_> = [("critical", 110_000)].into_iter().chain(fan).collect();
    pi.zone(0, "cpu-thermal", "61450", &trips);
    pi.write("sys/class/thermal/cooling_device0/type", "pwm-fan\n");
    pi.clock(0, 0..4, 2_400_000, 2_400_000);
    pi.write("sys/class/hwmon/hwmon2/name", "rpi_volt\n");
    pi.write("sys/class/hwmon/hwmon2/in0_lcrit_alarm", "0\n");
    let mut reader = pi.reader();
    assert_eq!(reader.clocks.len(), 1, "four cores share it");
    let reading = reader.read(true);
    let trips = Trips { passive_milli_c: None, critical_milli_c: Some(110_000) };
    let zone =
        Zone { name: "thermal_zone0".into(), kind: "cpu-thermal".into(), milli_c: 61_450, trips };
    let expected = Reading { zones: vec![zone], clock_percent: Some(100), ..Reading::default() };
    assert_eq!(reading, expected);
    assert_eq!(reading.hottest_milli_c(), Some(61_450));
    // The firmware holds the cores back without a word in the limit.
    pi.clock(0, 0..4, 1_500_000, 2_400_000);
    assert!(reader.read(true).is_throttled);
    assert!(!reader.read(false).is_throttled, "an idle core is slow by right");
    pi.write("sys/class/hwmon/hwmon2/in0_lcrit_alarm", "1\n");
    assert_eq!(level(&reader.read(false), &OWN), Level::Severe);
}

#[test]
fn a_jetson_orin_with_sensors_that_are_off() {
    let orin = Machine::new();
    let trips = [("critical", 104_500), ("passive", 99_000), ("active", 51_000), ("hot", 102_500)];
    let kinds = ["cpu", "gpu", "cv0", "cv1", "cv2", "soc0", "soc1", "soc2", "tj"];
    for (i, kind) in kinds.iter().enumerate() {
        orin.zone(i, &format!("{kind}-thermal"), &format!("{}", 48_000 + i * 100), &trips);
    }
    for off in [2, 3, 4] {
        orin.unreadable(&format!("sys/class/thermal/thermal_zone{off}/temp"));
    }
    orin.zone(1, "gpu-thermal", "-256000", &trips);
    let mut reader = orin.reader();
    let reading = reader.read(true);
    let read: Vec<&str> = reading.zones.iter().map(|zone| &*zone.kind).collect();
    assert_eq!(read, ["cpu-thermal", "soc0-thermal", "soc1-thermal", "soc2-thermal", "tj-thermal"]);
    assert_eq!(level(&reading, &OWN), Level::Normal);
    orin.zone(8, "tj-thermal", "99500", &trips);
    assert_eq!(level(&reader.read(true), &OWN), Level::Hot);
    orin.unreadable("sys/class/thermal/thermal_zone8/temp");
    assert_eq!(level(&reader.read(true), &OWN), Level::Normal, "the others are cool");
}

#[test]
fn an_rk3588_with_three_clocks() {
    let rk = Machine::new();
    let critical = [("critical", 115_000)];
    let both = [("passive", 85_000), ("passive", 75_000), ("critical", 115_000)];
    rk.zone(0, "package-thermal", "55461", &critical);
    for (i, kind) in ["bigcore0", "bigcore2", "littlecore"].iter().enumerate() {
        rk.zone(i + 1, &format!("{kind}-thermal"), "54538", &both);
    }
    for (i, kind) in ["center", "gpu", "npu"].iter().enumerate() {
        rk.zone(i + 4, &format!("{kind}-thermal"), "53615", &critical);
    }
    rk.clock(0, 0..4, 408_000, 1_800_000);
    rk.clock(4, 4..6, 2_256_000, 2_256_000);
    rk.clock(6, 6..8, 2_304_000, 2_304_000);
    let mut reader = rk.reader();
    let reading = reader.read(true);
    assert_eq!((reading.zones.len(), reader.clocks.len()), (7, 3));
    assert_eq!(reading.zones[1].trips.passive_milli_c, Some(75_000), "the lowest of its kind");
    assert!(!reading.is_throttled, "the small cores have nothing to do");
    assert_eq!(level(&reading, &OWN), Level::Normal);
    rk.zone(2, "bigcore2-thermal", "75000", &both);
    assert_eq!(level(&reader.read(true), &OWN), Level::Hot);
    rk.clock(4, 4..6, 1_200_000, 1_200_000);
    assert!(reader.read(false).is_throttled, "the limit was lowered");
    rk.clock(4, 4..6, 2_256_000, 2_256_000);
    assert!(!reader.read(false).is_throttled);
}

#[test]
fn a_limit_that_was_there_from_the_beginning_is_the_owners() {
    let machine = Machine::new();
    machine.write("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "2400000\n");
    machine.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "1000000\n");
    machine.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1000000\n");
    let reading = machine.reader().read(true);
    assert_eq!((reading.clock_percent, reading.is_throttled), (Some(100), false));
}

#[test]
fn stalls_and_batteries_are_read() {
    let machine = Machine::new();
    machine.write("proc/pressure/cpu", "some avg10=1.50 avg60=0 avg300=0 total=9\n");
    machine.write(
        "proc/pressure/memory",
        "some avg10=33.25 avg60=1.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0 avg300=0 total=1\n",
    );
    let supply = |name: &str, files: &[(&str, &str)]| {
        for (file, text) in files {
            machine.write(&format!("sys/class/power_supply/{name}/{file}"), format!("{text}\n"));
        }
    };
    supply("AC", &[("type", "Mains"), ("online", "0")]);
    supply("BAT0", &[("type", "Battery"), ("status", "Discharging"), ("capacity", "14")]);
    supply("mouse", &[("type", "Battery"), ("scope", "Device"), ("capacity", "1")]);
    let reading = machine.reader().read(false);
    let stalls =
        (reading.cpu_stall_percent, reading.memory_stall_percent, reading.io_stall_percent);
    assert_eq!(stalls, (Some(1.5), Some(33.25), None));
    let battery = Battery { percent: 14, is_discharging: true, is_critical: false };
    assert_eq!(reading.battery, Some(battery));
    supply("BAT0", &[("capacity", "900"), ("capacity_level", "Critical")]);
    let battery = Battery { percent: 0, is_discharging: true, is_critical: true };
    assert_eq!(machine.reader().read(false).battery, Some(battery));
}

#[test]
fn nothing_and_garbage_are_no_pressure() {
    let empty = Machine::new();
    assert_eq!(empty.reader().read(true), Reading::default());
    let odd = Machine::new();
    let garbage: [&[u8]; 6] = [b"", b"\xff\xfe", b"99999999999999999999", b"hot", b"-\n", b"NaN"];
    for (i, bytes) in garbage.iter().enumerate() {
        odd.zone(i, "cpu-thermal", "", &[("critical", -274_000), ("passive", 20_000)]);
        odd.write(&format!("sys/class/thermal/thermal_zone{i}/temp"), bytes);
        odd.write(&format!("sys/devices/system/cpu/cpu{i}/cpufreq/scaling_max_freq"), bytes);
        odd.write(&format!("sys/devices/system/cpu/cpu{i}/cpufreq/scaling_cur_freq"), bytes);
        odd.write(&format!("sys/class/power_supply/b{i}/type"), "Battery\n");
        odd.write(&format!("sys/class/power_supply/b{i}/capacity"), bytes);
        odd.write(&format!("sys/class/hwmon/hwmon{i}/in0_lcrit_alarm"), bytes);
    }
    odd.zone(6, "", "21000", &[("critical", 40_000)]);
    for (what, text) in [("cpu", "some avg10=NaN"), ("memory", "some avg10=999.0"), ("io", "x")] {
        odd.write(&format!("proc/pressure/{what}"), text);
    }
    let reading = odd.reader().read(true);
    let zones: Vec<_> = reading.zones.iter().map(|z| (&*z.kind, z.trips)).collect();
    assert_eq!(zones, [("thermal_zone6", Trips::default())], "named by its folder, no trip of use");
    assert_eq!(Reading { zones: Vec::new(), ..reading.clone() }, Reading::default());
    assert_eq!(level(&reading, &OWN), Level::Normal);
}
