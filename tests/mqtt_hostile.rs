//! The real daemon on a broker that does what none should: it stays up, serves its socket all the
//! while, does not hurry back, and works as soon as the broker does.

mod common;
#[path = "common/fake_broker.rs"]
mod fake_broker;

use common::daemon::Daemon;
use common::mosquitto::Mosquitto;
use common::requester::Requester;
use fake_broker::{CONNACK, Client, FakeBroker, framed, publish};
use serde_json::json;
use slmd::wire::Ask;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);
/// How long it is listened to after something hostile was said.
const MOMENT: Duration = Duration::from_millis(300);

/// What is done to one connection; CONNECT was read.
type Script = Box<dyn Fn(&mut Client) + Send + Sync>;

/// Accepts, says this, and listens for a moment.
fn saying(bytes: Vec<u8>) -> Script {
    Box::new(move |client| {
        client.say(CONNACK);
        client.say(&bytes);
        client.listen(MOMENT);
    })
}

/// Accepts, says this, and is gone.
fn leaving_after(bytes: Vec<u8>) -> Script {
    Box::new(move |client| {
        client.say(CONNACK);
        client.listen(MOMENT);
        client.say(&bytes);
    })
}

/// One connection after the other by a script, then all by mosquitto.
struct Town {
    mosquitto: Mosquitto,
    front: FakeBroker,
    /// When each connection began.
    times: Arc<Mutex<Vec<Instant>>>,
}

impl Town {
    fn open(scripts: Vec<Script>) -> Option<Self> {
        let mosquitto = Mosquitto::start("")?;
        let times = Arc::new(Mutex::new(Vec::new()));
        let (noted, port) = (Arc::clone(&times), mosquitto.port());
        let front = FakeBroker::start_mute(move |mut client, before| {
            noted.lock().expect("no panic").push(Instant::now());
            let Some(connect) = client.packet() else { return };
            let Some(script) = scripts.get(before) else {
                pass_on(client, &connect, port);
                return;
            };
            script(&mut client);
        });
        Some(Self { mosquitto, front, times })
    }

    /// Starts a daemon and waits until the broker is a good one; gives the daemon.
    fn live_through(&self, hostile: usize) -> Daemon {
        let config = format!(
            "engine = \"tract\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\nnode = \"n\"\n\
             reply-topics = [\"clients/#\"]\nstatus-interval-s = 1\n",
            self.front.port()
        );
        let daemon = Daemon::start(&config, &[]);
        let is_over = Arc::new(AtomicBool::new(false));
        let (mut neighbour, over) = (daemon.client(), Arc::clone(&is_over));
        neighbour.set_timeout(Duration::from_secs(5));
        let neighbour = std::thread::spawn(move || {
            let ask = Ask {
                task: Some("vehicle".into()),
                prompt: Some("lights on".into()),
                ..Ask::default()
            };
            let mut answers = 0;
            while !over.load(Ordering::SeqCst) {
                neighbour.ask(&ask, |_| {}).expect("the socket is served all the while");
                answers += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            answers
        });
        let began = Instant::now();
        while self.times.lock().expect("no panic").len() <= hostile {
            assert!(began.elapsed() < 2 * SOON, "it does not come back: {}", daemon.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
        is_over.store(true, Ordering::SeqCst);
        let answers = neighbour.join().expect("served all the while");
        assert!(answers > 5, "{answers}");
        self.check_backoff(hostile);
        daemon
    }

    /// 0.2 s, doubling, less a fifth by chance.
    fn check_backoff(&self, hostile: usize) {
        let times = self.times.lock().expect("no panic");
        assert_eq!(times.len(), hostile + 1, "no connection beside the expected ones");
        for (number, pair) in times.windows(2).enumerate() {
            let (began, next) = (pair[0], pair[1]);
            let least = Duration::from_millis(160) * (1 << number);
            assert!(next - began >= least, "{number}: {:?}, at least {least:?}", next - began);
        }
    }

    /// Prompts are answered, by the connection that is there.
    fn works(&self, daemon: &Daemon, hostile: usize) {
        let client =
            Requester::connect(self.mosquitto.port(), "w", &["clients/w", "slmd/n/status"]);
        let online = client.hear_on("slmd/n/status", SOON).expect("a status").json();
        assert_eq!(online["state"], "online", "{online}");
        for number in 0..3 {
            let answer = client.ask(
                "slmd/n/request/vehicle",
                "clients/w",
                &format!("after-{number}"),
                json!({ "prompt": "lights on" }),
            );
            assert_eq!(answer.expect("an answer")["status"], "ok", "{}", daemon.stderr());
        }
        let status = client.hear_on("slmd/n/status", SOON).expect("a status").json();
        // A connection that was refused in CONNACK is none.
        let connections = status["mqtt"]["connections"].as_u64().expect("a number");
        assert!(connections as usize <= hostile + 1, "{status}");
    }
}

/// Between a client whose CONNECT was read and mosquitto.
fn pass_on(client: Client, connect: &[u8], port: u16) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).expect("mosquitto listens");
    io::Write::write_all(&mut server, connect).expect("it reads");
    let mut client = client.into_stream();
    let (mut back, mut from) =
        (client.try_clone().expect("a twin"), server.try_clone().expect("a twin"));
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Both);
}

fn survives(scripts: Vec<Script>) {
    let hostile = scripts.len();
    let Some(town) = Town::open(scripts) else { return };
    let daemon = town.live_through(hostile);
    town.works(&daemon, hostile);
    assert!(daemon.end().success());
}

/// PUBLISH of QoS 1 with this topic, by bytes, and what stands between packet id and payload.
fn raw_publish(first: u8, topic: &[u8], packet: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic);
    body.extend(packet.to_be_bytes());
    body.extend(properties);
    body.extend(payload);
    framed(first, &body)
}

fn prompt(id: &str, reply_to: &str) -> Vec<u8> {
    json!({ "task": "vehicle", "prompt": "lights on", "id": id, "reply_to": reply_to })
        .to_string()
        .into_bytes()
}

#[test]
fn what_is_not_mqtt() {
    let half = publish("slmd/n/request/vehicle", 1, &prompt("half", "clients/w"));
    survives(vec![
        saying(b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(200)),
        leaving_after(half[..half.len() / 2].to_vec()),
        // A length of properties of 256 MiB in a small packet; one that is no length.
        saying(raw_publish(0x32, b"slmd/n/request", 1, &[0xff, 0xff, 0xff, 0x7f], b"x")),
        saying(raw_publish(0x32, b"slmd/n/request", 1, &[0xff, 0xff, 0xff, 0xff, 0xff], b"x")),
    ]);
}

#[test]
fn messages_that_are_none() {
    let oversized = publish("slmd/n/request/vehicle", 1, &vec![b'x'; 400 << 10]);
    survives(vec![
        saying(oversized),
        saying(raw_publish(0x32, b"slmd/\xff\xfe/request", 1, &[0], b"x")),
        // QoS 3; then a topic with a wildcard, and packet id 0.
        saying(raw_publish(0x36, b"slmd/n/request", 1, &[0], &prompt("q3", "clients/w"))),
        saying(raw_publish(0x32, b"slmd/n/request/+", 0, &[0], &prompt("w", "clients/w"))),
    ]);
}

#[test]
fn answers_to_what_was_not_asked() {
    survives(vec![
        // PUBACK, PUBREL and UNSUBACK of packets that never were, PINGRESP.
        leaving_after(
            [&[0x40, 2, 9, 9][..], &[0x62, 2, 9, 9], &[0xb0, 4, 9, 9, 0, 0], &[0xd0, 0]].concat(),
        ),
        // SUBACK that has one code too many.
        Box::new(|client| {
            client.say(CONNACK);
            let (packet, filters) = client.subscribe_packet();
            client.say(&suback(packet, filters + 1, 1));
            client.listen(MOMENT);
        }),
        // Everything refused: "not authorized".
        Box::new(|client| {
            client.say(CONNACK);
            let (packet, filters) = client.subscribe_packet();
            client.say(&suback(packet, filters, 0x87));
            client.listen(MOMENT);
        }),
    ]);
}

#[test]
fn hanging_up_with_a_reason() {
    // Not authorized, server shutting down, session taken over, packet too large, use another server.
    let reasons = [0x87, 0x8b, 0x8e, 0x95, 0x9c];
    survives(reasons.map(|reason| leaving_after(vec![0xe0, 2, reason, 0])).into());
}

#[test]
fn refusing_at_the_door() {
    // Not authorized, server busy, use another server.
    let refusal =
        |reason: u8| -> Script { Box::new(move |client| client.say(&[0x20, 3, 0, reason, 0])) };
    survives([0x87, 0x89, 0x9c].map(refusal).into());
}

#[test]
fn one_packet_id_for_two_prompts() {
    let two: Vec<u8> = ["one", "two"]
        .iter()
        .flat_map(|id| publish("slmd/n/request", 7, &prompt(id, "clients/twice")))
        .collect();
    let Some(town) = Town::open(vec![saying(two)]) else { return };
    let port = town.mosquitto.port();
    let client = Requester::connect(port, "twice", &["clients/twice"]);
    let daemon = town.live_through(1);
    // Nobody confirmed the answers, so they come again.
    let mut ids: Vec<String> = (0..2)
        .map(|_| client.hear(SOON).expect("both are answered").json()["id"].to_string())
        .collect();
    ids.sort();
    assert_eq!(ids, ["\"one\"", "\"two\""]);
    town.works(&daemon, 1);
}

/// The same reason code for all filters.
fn suback(packet: u16, filters: usize, code: u8) -> Vec<u8> {
    let mut body = packet.to_be_bytes().to_vec();
    body.push(0);
    body.extend(vec![code; filters]);
    framed(0x90, &body)
}

impl Client {
    /// Waits for SUBSCRIBE: its packet id, and how many filters it has.
    fn subscribe_packet(&mut self) -> (u16, usize) {
        loop {
            let packet = self.packet().expect("SUBSCRIBE comes");
            if packet[0] != 0x82 {
                continue;
            }
            let head = 1 + packet[1..].iter().position(|b| b & 0x80 == 0).expect("a length") + 1;
            let id = u16::from_be_bytes([packet[head], packet[head + 1]]);
            // No properties; then filters, each with its length before it and its options behind.
            let (mut rest, mut filters) = (&packet[head + 3..], 0);
            while !rest.is_empty() {
                let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                rest = &rest[2 + length + 1..];
                filters += 1;
            }
            return (id, filters);
        }
    }
}
