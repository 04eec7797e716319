//! F8: what is too large, either way.

use crate::peer::{Heard, Peer, request};
use crate::report::Report;
use crate::site::{self, REQUEST};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// The broker's, in bytes: the status fits, a long answer does not.
const PACKET_LIMIT: usize = 1200;
/// For messages that should not come.
const QUIET: Duration = Duration::from_secs(2);

pub fn measure(slmd: &Path) -> Report {
    let mut report = Report::new("limits", &["case", "messages", "code", "connections"]);
    eprintln!("limits");
    prompts(slmd, &mut report);
    answers(slmd, &mut report);
    report
}

/// Over our limit of a prompt; over the packet size that we announce.
fn prompts(slmd: &Path, report: &mut Report) {
    let broker = site::bare_broker("");
    let config = site::config(&broker.url(), "status-interval-s = 1", "");
    let _daemon = site::start(slmd, "warn", &config, None, broker.port());
    let port = broker.port();
    let body = |bytes: usize| json!({ "task": "vehicle", "prompt": "x".repeat(bytes) });
    let heard = ask(port, "prompt", &body(70 << 10));
    judge(report, port, "prompt of 70 KiB, limit 64 KiB", &heard, Some("too_large"));
    // MQTT 5.0, section 3.1.2.11.4: the broker drops it in silence.
    let heard = ask(port, "packet", &body(400 << 10));
    judge(report, port, "prompt of 400 KiB, packets of 96 KiB announced", &heard, None);
}

fn answers(slmd: &Path, report: &mut Report) {
    let Some(model) = site::test_model("stories260k-fp32") else { return };
    let broker = site::bare_broker(&format!("max_packet_size {PACKET_LIMIT}"));
    let config = site::config(&broker.url(), "status-interval-s = 1", "");
    let _daemon = site::start(slmd, "warn", &config, Some(&model), broker.port());
    let long = json!({ "prompt": "Once upon a time", "max_tokens": 480, "temperature": 0.0 });
    let heard = ask(broker.port(), "answer", &long);
    let name = format!("long answer, the broker takes {PACKET_LIMIT} bytes");
    judge(report, broker.port(), &name, &heard, Some("too_large"));
}

fn ask(port: u16, correlation: &str, body: &Value) -> Vec<Heard> {
    let mut client = Peer::connect(port, &["clients/limits"]);
    client.publish(REQUEST, body.to_string(), request("clients/limits", correlation));
    let first = client.hear(Duration::from_secs(5));
    let mut heard: Vec<Heard> = first.into_iter().collect();
    while let Some(more) = client.hear(QUIET) {
        heard.push(more);
    }
    heard
}

/// One refusal, or none where the broker says nothing; and the connection is the first one.
fn judge(report: &mut Report, port: u16, case: &str, heard: &[Heard], wanted: Option<&str>) {
    let answer = heard.first().map_or(Value::Null, Heard::json);
    let code = answer["error"]["code"].as_str();
    let status = site::wait_for_status(port, |_| true);
    let connections = status["mqtt"]["connections"].as_u64();
    report.row(
        [
            case.to_owned(),
            heard.len().to_string(),
            code.unwrap_or("-").to_owned(),
            format!("{connections:?}"),
        ],
        json!({
            "case": case, "messages": heard.len(), "code": code, "connections": connections,
        }),
    );
    let is_met =
        heard.len() == usize::from(wanted.is_some()) && code == wanted && connections == Some(1);
    let said = wanted.map_or("no message".into(), |code| format!("one `{code}`"));
    report.aim(format!("{case}: {said}, one connection all along"), is_met);
}
