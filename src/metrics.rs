//! What the machine says about itself while slmd runs.

use std::path::Path;

/// The hottest thermal zone of the machine, in degrees Celsius; none where there is none to read,
/// as in most virtual machines.
pub fn temperature_c() -> Option<f32> {
    hottest(Path::new("/sys/class/thermal"))
}

/// `thermal_zone*/temp` holds thousandths of a degree (Linux, Documentation/driver-api/thermal).
fn hottest(folder: &Path) -> Option<f32> {
    let zones = std::fs::read_dir(folder).ok()?.flatten();
    zones
        .filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"))
        .filter_map(|zone| std::fs::read_to_string(zone.path().join("temp")).ok())
        .filter_map(|text| text.trim().parse::<i32>().ok())
        .max()
        .map(|milli| milli as f32 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_zone_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(hottest(folder.path()), None);
        let zones =
            [("thermal_zone0", "48312\n"), ("thermal_zone1", "x"), ("thermal_zone2", "61500")];
        for (name, text) in zones.into_iter().chain([("cooling_device0", "99000")]) {
            std::fs::create_dir(folder.path().join(name)).expect("new");
            std::fs::write(folder.path().join(name).join("temp"), text).expect("written");
        }
        assert_eq!(hottest(folder.path()), Some(61.5));
        assert_eq!(hottest(&folder.path().join("absent")), None);
    }
}
