//! Any stream is cut into frames, each of them a valid command or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slmd::wire::framer::{Cut, Framer};
use slmd::wire::{Codec, frame};

fuzz_target!(|stream: &[u8]| {
    let mut framer = Framer::new(Codec::Postcard, 4096);
    for piece in stream.chunks(100) {
        framer.push(piece);
        while let Some(cut) = framer.cut() {
            let Cut::Message(range) = cut else { continue };
            let bytes = framer.bytes(range);
            let _ = frame::decode_server(&mut bytes.to_vec());
            if let Ok(frame) = frame::decode_client(bytes)
                && let Ok(Some(command)) = frame.into_command()
            {
                let mut again = Vec::new();
                frame::append(&frame::ClientFrame::from(&command), &mut again);
                again.pop();
                let frame = frame::decode_client(&mut again).expect("what we write we read");
                assert!(frame.into_command().is_ok());
            }
        }
    }
});
