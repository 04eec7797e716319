//! Any message on a request topic is a request or a refusal, and what is stored of it comes back.
//!
//! The input's first byte says which properties there are, and how long each is, in turns.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use slmd::transport::mqtt::message::{Message, Properties, Qos};
use slmd::transport::mqtt::{request, stored};

/// Takes a length from the first byte, and so many bytes.
fn take<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, bytes)) = rest.split_first() else { return &[] };
    let (head, tail) = bytes.split_at(bytes.len().min(usize::from(*length)));
    *rest = tail;
    head
}

fn text(rest: &mut &[u8]) -> String {
    String::from_utf8_lossy(take(rest)).into_owned()
}

fuzz_target!(|input: &[u8]| {
    let Some((flags, mut rest)) = input.split_first() else { return };
    let has = |bit: u8| flags & (1 << bit) != 0;
    let task = has(0).then(|| text(&mut rest));
    let properties = Properties {
        response_topic: has(1).then(|| text(&mut rest)),
        correlation: has(2).then(|| Bytes::copy_from_slice(take(&mut rest))),
        content_type: has(3).then(|| text(&mut rest)),
        utf8: has(4).then_some(true),
        expiry_s: has(5).then_some(u32::from(*flags)),
        user: if has(6) { vec![(text(&mut rest), text(&mut rest))] } else { Vec::new() },
    };
    let payload = Bytes::copy_from_slice(rest);
    let message =
        Message { properties, ..Message::new("slmd/n/request", payload, Qos::AtLeastOnce) };
    let (address, read) = request::read(task.as_deref(), &message);
    let _ = stored::key(&address);
    if let Ok(request) = read {
        assert!(stored::read_body(&stored::body(&request.ask)).is_some());
    }
    let _ = stored::Head::read(&message.payload);
});
