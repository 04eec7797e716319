//! Any line is a command that can be written and read again, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slmd::wire::json;

fuzz_target!(|line: &[u8]| {
    let _ = json::salvage(line);
    let _ = json::parse_reply(line);
    if let Ok(command) = json::parse_command(line) {
        let mut again = Vec::new();
        json::write_command(&command, &mut again);
        // Not necessarily an equal one: numbers in `vars` may move by their last bit.
        assert!(json::parse_command(&again).is_ok());
    }
});
