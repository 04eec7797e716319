//! The link to the broker: against mosquitto, which is stopped, killed and frozen, and against a
//! broker that says what none should.

#[path = "common/fake_broker.rs"]
mod fake_broker;
#[path = "common/mosquitto.rs"]
mod mosquitto;

use bytes::Bytes;
use fake_broker::{CONNACK, FakeBroker};
use mosquitto::Mosquitto;
use slmd::transport::mqtt::link::{Link, LinkEvent, LinkOptions, NotSent, Retained, Subscription};
use slmd::transport::mqtt::message::{Message, Properties, Qos, Received};
use slmd::transport::mqtt::tls::{Tls, TlsFiles};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

fn options(port: u16, client_id: &str) -> LinkOptions {
    LinkOptions {
        host: "127.0.0.1".into(),
        port,
        tls: None,
        client_id: client_id.into(),
        username: None,
        password: None,
        keep_alive: Duration::from_secs(5),
        session_expiry_s: 3600,
        receive_maximum: 4,
        max_packet_bytes: 100 << 10,
        will: None,
    }
}

fn filter(filter: &str) -> Subscription {
    Subscription {
        filter: filter.into(),
        qos: Qos::AtLeastOnce,
        retained: Retained::Always,
        no_local: false,
    }
}

fn sure(topic: &str, payload: &'static [u8]) -> Message {
    Message::new(topic, payload, Qos::AtLeastOnce)
}

/// The first event that `pick` takes; the others are dropped.
async fn expect<T>(link: &mut Link, limit: Duration, pick: impl Fn(LinkEvent) -> Option<T>) -> T {
    let found = timeout(limit, async {
        loop {
            if let Some(found) = pick(link.next().await) {
                return found;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("nothing within {limit:?}; {:?}", link.figures()))
}

/// Whether the broker remembers us.
async fn connected(link: &mut Link) -> bool {
    expect(link, LONG, |event| match event {
        LinkEvent::Connected { session_present, .. } => Some(session_present),
        _ => None,
    })
    .await
}

async fn received(link: &mut Link) -> Received {
    expect(link, LONG, |event| match event {
        LinkEvent::Received(received) => Some(received),
        LinkEvent::Lost { reason, .. } => panic!("lost: {reason}"),
        _ => None,
    })
    .await
}

async fn outcome(link: &mut Link, wanted: u64) -> Result<u8, slmd::transport::mqtt::link::Lost> {
    expect(link, LONG, |event| match event {
        LinkEvent::Published { tag, outcome, .. } if tag == wanted => Some(outcome),
        _ => None,
    })
    .await
}

async fn lost(link: &mut Link, limit: Duration) -> String {
    expect(link, limit, |event| match event {
        LinkEvent::Lost { reason, .. } => Some(reason),
        _ => None,
    })
    .await
}

/// Nothing happens for a while.
async fn quiet(link: &mut Link) {
    if let Ok(event) = timeout(SHORT, link.next()).await {
        panic!("{event:?}");
    }
}

async fn online(port: u16, client_id: &str) -> Link {
    let mut link = Link::new(options(port, client_id));
    connected(&mut link).await;
    link
}

async fn listening(port: u16, client_id: &str, to: &str) -> Link {
    let mut link = online(port, client_id).await;
    subscribe(&mut link, to).await;
    link
}

async fn subscribe(link: &mut Link, to: &str) {
    link.subscribe(&[filter(to)]).expect("there is room");
    let codes = expect(link, LONG, |event| match event {
        LinkEvent::Subscribed { filters } => Some(filters),
        _ => None,
    });
    assert_eq!(codes.await, [(to.to_owned(), 1)]);
}

#[tokio::test]
async fn a_message_arrives_with_all_its_properties() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut from = online(broker.port(), "from").await;
    let mut to = listening(broker.port(), "to", "a/+/c").await;
    let message = Message {
        topic: "a/ä/c".into(),
        payload: Bytes::from_static(&[0, 255, 10, 13, 0]),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: Properties {
            response_topic: Some("answers/ü".into()),
            correlation: Some(Bytes::from_static(&[0, 1, 254, 255])),
            content_type: Some("application/json".into()),
            utf8: Some(false),
            expiry_s: Some(60),
            user: vec![
                ("task".into(), "alert".into()),
                ("k".into(), "1".into()),
                ("k".into(), String::new()),
            ],
        },
    };
    from.publish(7, message.clone()).expect("sent");
    assert_eq!(outcome(&mut from, 7).await, Ok(0));
    let Received { message: arrived, dup, ack } = received(&mut to).await;
    assert_eq!((arrived, dup), (message, false));
    to.ack(ack.expect("of QoS 1"));

    let plain = Message::new("a/b/c", "", Qos::AtMostOnce);
    from.publish(8, plain.clone()).expect("sent");
    let (_, Received { message: arrived, ack, .. }) = tokio::join!(
        timeout(SHORT, from.next()), // Nothing is heard of QoS 0.
        received(&mut to)
    );
    assert_eq!((arrived, ack), (plain, None));

    to.unsubscribe(&["a/+/c".into(), "never".into()]).expect("there is room");
    let codes = expect(&mut to, LONG, |event| match event {
        LinkEvent::Unsubscribed { filters } => Some(filters),
        _ => None,
    });
    assert_eq!(codes.await, [("a/+/c".into(), 0x00), ("never".into(), 0x11)]);
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_in_the_next_connection() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut to = listening(broker.port(), "to", "q").await;
    let mut from = online(broker.port(), "from").await;
    for (tag, payload) in [(1, b"one"), (2, b"two")] {
        from.publish(tag, sure("q", payload)).expect("sent");
        assert_eq!(outcome(&mut from, tag).await, Ok(0));
    }
    let one = received(&mut to).await;
    assert!(received(&mut to).await.ack.is_some());
    to.ack(one.ack.expect("of QoS 1"));
    quiet(&mut to).await;
    // Not closed: it vanishes.
    drop(to);

    let mut to = Link::new(options(broker.port(), "to"));
    assert!(connected(&mut to).await, "the broker remembers");
    let again = received(&mut to).await;
    assert_eq!((again.message.payload.as_ref(), again.dup), (&b"two"[..], true));
    let fresh = again.ack.expect("of QoS 1");
    // In a session that only the broker remembers we may publish.
    to.publish(3, sure("nobody", b"x")).expect("sent");
    assert_eq!(outcome(&mut to, 3).await, Ok(0x10), "nobody subscribes");
    to.ack(fresh);
    quiet(&mut to).await;
    drop(to);
    let mut to = Link::new(options(broker.port(), "to"));
    assert!(connected(&mut to).await);
    quiet(&mut to).await;
}

#[tokio::test]
async fn a_broker_that_is_killed_is_waited_for() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    let mut link = listening(broker.port(), "link", "q").await;
    let mut from = online(broker.port(), "from").await;
    from.publish(1, sure("q", b"kept")).expect("sent");
    assert_eq!(outcome(&mut from, 1).await, Ok(0));
    let unacked = received(&mut link).await;
    // For mosquitto 2.0 a message in flight is no change that it saves for; a subscription is.
    subscribe(&mut from, "other").await;
    tokio::time::sleep(SHORT).await;
    broker.kill();
    link.publish(2, sure("q", b"lost")).expect("the socket takes it");
    assert!(outcome(&mut link, 2).await.is_err());
    let reason = lost(&mut link, LONG).await;
    assert_eq!(link.publish(3, sure("q", b"x")), Err(NotSent::Offline), "{reason}");
    assert!(link.figures().connected_since.is_none());
    broker.restart();
    let (generation, session_present) = expect(&mut link, LONG, |event| match event {
        LinkEvent::Connected { generation, session_present, .. } => {
            Some((generation, session_present))
        }
        _ => None,
    })
    .await;
    assert_eq!((generation, session_present), (2, true), "{}", broker.log());
    let again = received(&mut link).await;
    assert_eq!(again.message.payload.as_ref(), b"kept");
    // The earlier connection's right to acknowledge is worth nothing; so it comes again.
    link.ack(unacked.ack.expect("of QoS 1"));
    quiet(&mut link).await;
    drop(link);
    let mut link = Link::new(options(broker.port(), "link"));
    connected(&mut link).await;
    let again = received(&mut link).await;
    assert!(again.dup);
    link.ack(again.ack.expect("of QoS 1"));
}

#[tokio::test]
async fn a_frozen_broker_is_noticed_when_all_is_idle() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut link = online(broker.port(), "link").await;
    broker.freeze();
    let start = Instant::now();
    let reason = lost(&mut link, Duration::from_secs(16)).await;
    assert!(reason.contains("no sign of life"), "{reason}");
    let took = start.elapsed();
    assert!((5..=15).contains(&took.as_secs()), "{took:?}");
    // It answers no CONNECT either; then it does.
    let (_, present) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            broker.thaw();
        },
        connected(&mut link)
    );
    assert!(present);
}

#[tokio::test]
async fn a_frozen_broker_is_noticed_while_we_fill_its_buffers() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut link = online(broker.port(), "link").await;
    broker.freeze();
    let start = Instant::now();
    let chunk = Message::new("stream", vec![b'x'; 8 << 10], Qos::AtMostOnce);
    let (mut full, mut sent) = (0, 0);
    let reason = loop {
        match link.publish(0, chunk.clone()) {
            Ok(()) => sent += 1,
            Err(NotSent::Full) => full += 1,
            Err(other) => panic!("{other}"),
        }
        match timeout(Duration::from_millis(1), link.next()).await {
            Ok(LinkEvent::Lost { reason, .. }) => break reason,
            Ok(LinkEvent::Room) | Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
        assert!(start.elapsed().as_secs() < 16, "still connected; {full} times full");
    };
    assert!(reason.contains("no sign of life"), "{reason}");
    assert!(full > 0, "the buffers are large: {sent} chunks fitted");
}

#[tokio::test]
async fn a_broker_that_only_listens_is_not_taken_for_dead() {
    let Some(broker) = Mosquitto::start("") else { return };
    let keep_alive = Duration::from_secs(1);
    let mut link = Link::new(LinkOptions { keep_alive, ..options(broker.port(), "link") });
    connected(&mut link).await;
    let start = Instant::now();
    while start.elapsed() < 5 * keep_alive {
        link.publish(0, Message::new("stream", "chunk", Qos::AtMostOnce)).expect("room");
        if let Ok(event) = timeout(Duration::from_millis(50), link.next()).await {
            panic!("{event:?}");
        }
    }
}

#[tokio::test]
async fn small_packets_do_not_wait_for_one_another() {
    // It holds back a small packet until the one before is acknowledged.
    let Some(broker) = Mosquitto::start("set_tcp_nodelay false") else { return };
    let mut from = listening(broker.port(), "from", "pong").await;
    let mut to = listening(broker.port(), "to", "ping").await;
    let mut times = Vec::new();
    for tag in 0..61 {
        let start = Instant::now();
        from.publish(tag, sure("ping", b"x")).expect("sent");
        // Both have to be polled: one acknowledges while the other waits.
        let pong = async {
            let ping = received(&mut to).await;
            to.ack(ping.ack.expect("of QoS 1"));
            to.publish(tag, sure("pong", b"x")).expect("sent");
            outcome(&mut to, tag).await.expect("confirmed");
        };
        let (_, back) = tokio::join!(pong, received(&mut from));
        from.ack(back.ack.expect("of QoS 1"));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    assert!(times[30] < Duration::from_millis(20), "the usual time is {:?}", times[30]);
}

#[tokio::test]
async fn only_what_the_broker_takes_is_sent() {
    let Some(broker) = Mosquitto::start("max_packet_size 1000\nretain_available false") else {
        return;
    };
    let mut link = Link::new(options(broker.port(), "link"));
    let limits = expect(&mut link, LONG, |event| match event {
        LinkEvent::Connected { broker, .. } => Some(broker),
        _ => None,
    })
    .await;
    assert_eq!((limits.max_packet_bytes, limits.retain), (Some(1000), false));
    subscribe(&mut link, "t").await;
    // Fixed header 3, topic 2 + 1, packet id 2, properties 1 + 1 + 2 + 2.
    let message = |payload: usize| Message {
        retain: true,
        properties: Properties { content_type: Some("ab".into()), ..Properties::default() },
        ..Message::new("t", vec![b'x'; payload], Qos::AtLeastOnce)
    };
    assert_eq!(link.publish(1, message(987)), Err(NotSent::TooLarge { size: 1001, limit: 1000 }));
    link.publish(2, message(986)).expect("it fits");
    assert_eq!(received(&mut link).await.message.payload.len(), 986);
    for wrong in ["a/+", "#", "nul\0"] {
        let refused = link.publish(3, Message::new(wrong, "x", Qos::AtLeastOnce));
        assert!(matches!(refused, Err(NotSent::Invalid(_))), "{wrong}");
    }
    link.publish(4, sure("t", b"the connection is sound")).expect("sent");
    assert_eq!(outcome(&mut link, 4).await, Ok(0));
}

#[tokio::test]
async fn too_large_a_request_never_comes_and_never_ends_the_connection() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut to = Link::new(LinkOptions { max_packet_bytes: 2000, ..options(broker.port(), "to") });
    connected(&mut to).await;
    subscribe(&mut to, "t").await;
    let mut from = online(broker.port(), "from").await;
    from.publish(1, Message::new("t", vec![0; 3000], Qos::AtLeastOnce)).expect("sent");
    from.publish(2, sure("t", b"small")).expect("sent");
    assert_eq!(outcome(&mut from, 2).await, Ok(0));
    assert_eq!(received(&mut to).await.message.payload.as_ref(), b"small");
    quiet(&mut to).await;
}

#[tokio::test]
async fn the_window_fills_and_opens_again() {
    let broker = FakeBroker::start(|mut client, _| {
        client.say(CONNACK);
        let first: Vec<Vec<u8>> = std::iter::from_fn(|| client.packet()).take(16).collect();
        // The first of them, after a while; nobody subscribes.
        std::thread::sleep(SHORT);
        let id = &first[0][5..7];
        client.say(&[&[0x40, 3], id, &[0x10]].concat());
        client.hold(LONG);
    });
    let mut link = online(broker.port(), "link").await;
    for tag in 0..16 {
        link.publish(tag, sure("t", b"x")).expect("room");
    }
    assert_eq!(link.publish(16, sure("t", b"x")), Err(NotSent::Full));
    link.publish(17, Message::new("t", "chunk", Qos::AtMostOnce)).expect("not held up");
    assert_eq!(outcome(&mut link, 0).await, Ok(0x10));
    assert_eq!(link.next().await, LinkEvent::Room);
    link.publish(16, sure("t", b"x")).expect("room");
}

#[tokio::test]
async fn good_bye_is_said_and_the_last_will_only_sent_without_it() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut watcher = listening(broker.port(), "watcher", "status").await;
    let will = Some(sure("status", b"vanished"));
    let with_will = |id| LinkOptions { will: will.clone(), ..options(broker.port(), id) };
    let mut link = Link::new(with_will("polite"));
    connected(&mut link).await;
    let start = Instant::now();
    link.close(Some(sure("status", b"good-bye"))).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    let said = received(&mut watcher).await;
    assert_eq!(said.message.payload.as_ref(), b"good-bye");
    watcher.ack(said.ack.expect("of QoS 1"));
    quiet(&mut watcher).await;

    let mut link = Link::new(with_will("rude"));
    connected(&mut link).await;
    drop(link);
    assert_eq!(received(&mut watcher).await.message.payload.as_ref(), b"vanished");
}

#[tokio::test]
async fn what_the_broker_has_kept_is_told_from_what_is_new() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut from = online(broker.port(), "from").await;
    let kept = Message { retain: true, ..sure("t", b"kept") };
    from.publish(1, kept.clone()).expect("sent");
    outcome(&mut from, 1).await.expect("confirmed");
    let mut to = online(broker.port(), "to").await;
    let again = |retained| Subscription { retained, ..filter("t") };
    // It may come before SUBACK.
    to.subscribe(&[again(Retained::Always)]).expect("room");
    assert!(received(&mut to).await.message.retain);
    from.publish(2, kept).expect("sent");
    outcome(&mut from, 2).await.expect("confirmed");
    assert!(!received(&mut to).await.message.retain, "it is new");
    for retained in [Retained::IfNew, Retained::Never] {
        to.subscribe(&[again(retained)]).expect("room");
        while !matches!(to.next().await, LinkEvent::Subscribed { .. }) {}
        quiet(&mut to).await;
    }
}

#[tokio::test]
async fn a_client_of_the_same_id_is_named() {
    let fake = FakeBroker::start(|mut client, _| {
        client.say(CONNACK);
        client.say(&[0xe0, 2, 0x8e, 0]);
    });
    let mut told = online(fake.port(), "twin").await;
    let reason = lost(&mut told, LONG).await;
    assert_eq!(reason, "another client uses the client id \"twin\"");

    // mosquitto 2.0 hangs up without a word.
    let Some(broker) = Mosquitto::start("") else { return };
    let mut first = online(broker.port(), "twin").await;
    let _second = online(broker.port(), "twin").await;
    let reason = lost(&mut first, LONG).await;
    assert!(reason.contains("another client use"), "{reason}");
    assert!(reason.contains("the client id \"twin\""), "{reason}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_in_plain_words_and_not_tried_for_ever() {
    let Some(passwords) = mosquitto::program("mosquitto_passwd") else {
        return eprintln!("SKIP: no mosquitto_passwd: apt-get install mosquitto");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let status = std::process::Command::new(passwords)
        .args(["-b", "-c"])
        .arg(dir.path().join("passwords"))
        .args(["robot", "secret"])
        .status();
    assert!(status.expect("it runs").success());
    let access = "allow_anonymous false\npassword_file DIR/passwords";
    let Some(broker) = Mosquitto::start_in(dir, access, "") else { return };
    let as_robot = |password: &'static str| LinkOptions {
        username: Some("robot".into()),
        password: Some(Bytes::from_static(password.as_bytes())),
        ..options(broker.port(), "link")
    };
    connected(&mut Link::new(as_robot("secret"))).await;
    let mut link = Link::new(as_robot("wrong"));
    let mut attempts = 0;
    let refused = async {
        loop {
            match link.next().await {
                LinkEvent::Lost { reason, was_connected: false, .. } => {
                    assert!(reason.contains("refused: NotAuthorized, not authorised"), "{reason}");
                    attempts += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(timeout(Duration::from_secs(3), refused).await.is_err());
    // After 0, 0.2, 0.6, 1.4 and 3 seconds, or a fifth less.
    assert!((3..=5).contains(&attempts), "{attempts} attempts in three seconds");
    assert_eq!(link.figures().attempts, attempts);
}

// ---- TLS

/// A CA, and a certificate and key for the broker and for a client, in a directory.
fn certificates() -> tempfile::TempDir {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).expect("writable");
    };
    for ca in ["ca", "other"] {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("sound");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, ca);
        write(&format!("{ca}.pem"), params.self_signed(&key).expect("signed").pem());
        let issuer = Issuer::new(params, key);
        for (name, host) in [("broker", "127.0.0.1"), ("client", "slmd")] {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec![host.into()]).expect("sound");
            params.distinguished_name.push(rcgen::DnType::CommonName, host);
            let signed = params.signed_by(&key, &issuer).expect("signed");
            let prefix = if ca == "ca" { "" } else { "other-" };
            write(&format!("{prefix}{name}.pem"), signed.pem());
            write(&format!("{prefix}{name}.key"), key.serialize_pem());
        }
    }
    dir
}

const TLS_ACCESS: &str = "allow_anonymous true\ncafile DIR/ca.pem\ncertfile DIR/broker.pem\n\
                          keyfile DIR/broker.key\nrequire_certificate true";

fn over_tls(port: u16, dir: &Path, ca: &str, client: Option<&str>) -> LinkOptions {
    let file = |name: String| -> PathBuf { dir.join(name) };
    let files = TlsFiles {
        ca: Some(file(ca.into())),
        identity: client.map(|c| (file(format!("{c}.pem")), file(format!("{c}.key")))),
    };
    LinkOptions { tls: Some(Tls::load(&files).expect("sound")), ..options(port, "link") }
}

#[tokio::test]
async fn tls_with_a_ca_and_a_client_certificate() {
    let Some(broker) = Mosquitto::start_in(certificates(), TLS_ACCESS, "") else { return };
    let dir = broker.dir().to_owned();
    let mut link = Link::new(over_tls(broker.port(), &dir, "ca.pem", Some("client")));
    connected(&mut link).await;
    subscribe(&mut link, "t").await;
    let large = Message::new("t", vec![b'x'; 90_000], Qos::AtLeastOnce);
    for tag in 0..8 {
        link.publish(tag, large.clone())
            .or_else(|e| match e {
                NotSent::Full => Ok(()),
                other => Err(other),
            })
            .expect("sent or full");
        let arrived = received(&mut link).await;
        assert_eq!(arrived.message.payload, large.payload);
        link.ack(arrived.ack.expect("of QoS 1"));
    }

    let mut stranger = Link::new(over_tls(broker.port(), &dir, "other.pem", Some("client")));
    let start = Instant::now();
    for _ in 0..3 {
        let reason = lost(&mut stranger, LONG).await;
        assert!(reason.contains("TLS: invalid peer certificate"), "{reason}");
    }
    assert!(start.elapsed() >= Duration::from_millis(450), "it waits between attempts");
    let mut nobody = Link::new(over_tls(broker.port(), &dir, "ca.pem", None));
    let reason = lost(&mut nobody, LONG).await;
    assert!(reason.to_lowercase().contains("certificate"), "{reason}");
    let mut misled = over_tls(broker.port(), &dir, "ca.pem", Some("client"));
    misled.host = "localhost".into();
    let reason = lost(&mut Link::new(misled), LONG).await;
    assert!(reason.contains("not valid for name"), "{reason}");
}

// ---- what no broker should do

/// The reason for which a connection to a broker of that script ends.
async fn end_of(say: Vec<u8>) -> (String, Vec<u8>) {
    let (sender, last) = std::sync::mpsc::channel();
    let broker = FakeBroker::start(move |mut client, _| {
        client.say(CONNACK);
        client.say(&say);
        let said = client.rest().pop().unwrap_or_default();
        let _ = sender.send(said);
    });
    let mut link = Link::new(LinkOptions { receive_maximum: 2, ..options(broker.port(), "link") });
    connected(&mut link).await;
    let reason = lost(&mut link, LONG).await;
    (reason, last.recv_timeout(LONG).unwrap_or_default())
}

#[tokio::test]
async fn what_is_not_mqtt_ends_the_connection_with_the_reason() {
    // What is sent, what is said about it, and the reason code of our DISCONNECT.
    let cases: [(&str, Vec<u8>, &str, u8); 9] = [
        ("garbage", b"HTTP/1.1 400 Bad Request\r\n".repeat(9), "not MQTT 5", 0x81),
        ("length", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x7f], "not MQTT 5", 0x81),
        ("oversized", vec![0x30, 0xff, 0xff, 0xff, 0x7f], "not MQTT 5", 0x81),
        ("cut short", vec![0x30, 2, 0, 200], "not MQTT 5", 0x81),
        // Its length of properties is missing, which must not count as "more to come".
        ("no properties", vec![0x30, 3, 0, 1, b'a'], "not MQTT 5", 0x81),
        ("alias", vec![0x30, 6, 0, 0, 3, 0x23, 0, 1], "topic alias", 0x94),
        ("second CONNACK", CONNACK.to_vec(), "ConnAck, out of turn", 0x82),
        ("AUTH", vec![0xf0, 2, 0x18, 0], "Auth, out of turn", 0x82),
        (
            "over the receive maximum",
            (1..=3).flat_map(|id| fake_broker::publish("t", id, b"x")).collect(),
            "more than 2 unacknowledged",
            0x93,
        ),
    ];
    for (name, say, reason, code) in cases {
        let (said, last) = end_of(say).await;
        assert!(said.contains(reason), "{name}: {said}");
        assert_eq!(last.first(), Some(&0xe0), "{name}: DISCONNECT, not {last:02x?}");
        assert_eq!(last.get(2), Some(&code), "{name}: {last:02x?}");
    }
}

#[tokio::test]
async fn a_message_of_qos_2_is_taken_too() {
    let broker = FakeBroker::start(|mut client, _| {
        client.say(CONNACK);
        client.say(&[0x34, 8, 0, 1, b't', 0, 9, 0, b'h', b'i']);
        assert_eq!(client.packet().expect("PUBREC")[..4], [0x50, 2, 0, 9]);
        client.say(&[0x62, 2, 0, 9]);
        assert_eq!(client.packet().expect("PUBCOMP")[..4], [0x70, 2, 0, 9]);
        client.say(&fake_broker::publish("t", 0, b"done"));
        client.hold(LONG);
    });
    let mut link = online(broker.port(), "link").await;
    let first = received(&mut link).await;
    assert_eq!(first.message.payload.as_ref(), b"hi");
    link.ack(first.ack.expect("to be acknowledged"));
    assert_eq!(received(&mut link).await.message.payload.as_ref(), b"done");
}

#[tokio::test]
async fn the_brokers_keep_alive_holds() {
    let broker = FakeBroker::start(|mut client, _| {
        // CONNACK with Server Keep Alive 1; then nothing.
        client.say(&[0x20, 6, 0, 0, 3, 0x13, 0, 1]);
        client.hold(LONG);
    });
    let mut link = online(broker.port(), "link").await;
    let start = Instant::now();
    lost(&mut link, LONG).await;
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1900) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_broker_that_says_nothing_is_given_ten_seconds() {
    // To CONNECT, and to TLS.
    let mute = FakeBroker::start_mute(|client, _| client.hold(Duration::from_secs(30)));
    let dir = certificates();
    let mut plain = Link::new(options(mute.port(), "link"));
    let mut secret = Link::new(over_tls(mute.port(), dir.path(), "ca.pem", None));
    let start = Instant::now();
    let limit = Duration::from_secs(12);
    let (plain, secret) = tokio::join!(lost(&mut plain, limit), lost(&mut secret, limit));
    assert!(start.elapsed() >= Duration::from_secs(9));
    assert!(plain.contains("MQTT: no answer within 10 s"), "{plain}");
    assert!(secret.contains("TLS: no answer within 10 s"), "{secret}");
}

#[tokio::test]
async fn a_broker_that_hangs_up_is_not_hammered() {
    let broker = FakeBroker::start(|mut client, before| {
        // Either before or after it has accepted.
        if before % 2 == 0 {
            client.say(CONNACK);
        }
    });
    let mut link = Link::new(options(broker.port(), "link"));
    let _ = timeout(Duration::from_secs(4), async {
        loop {
            link.next().await;
        }
    })
    .await;
    // After 0, 0.2, 0.6, 1.4 and 3 seconds.
    assert!((4..=6).contains(&broker.clients()), "{} attempts", broker.clients());
    let reason = link.figures().last_error.clone().unwrap_or_default();
    assert!(reason.contains("closed") || reason.contains("reset"), "{reason}");
}

#[tokio::test]
async fn a_broker_that_never_reads_does_not_fill_our_memory() {
    let broker = FakeBroker::start(|mut client, _| {
        client.say(CONNACK);
        // Asks for answers without end, and reads none of them.
        let release: Vec<u8> = [0x62, 2, 0, 1].repeat(4096);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            client.say(&release);
        }
    });
    let keep_alive = Duration::from_secs(2);
    let mut link = Link::new(LinkOptions { keep_alive, ..options(broker.port(), "link") });
    connected(&mut link).await;
    let before = resident_kib();
    lost(&mut link, LONG).await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 2048, "{grown} KiB");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|l| l.starts_with("VmRSS")).expect("listed");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

#[tokio::test]
async fn nothing_happens_twice_when_next_is_dropped_in_the_middle() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut link = Link::new(options(broker.port(), "link"));
    let mut from = listening(broker.port(), "from", "unused").await;
    let start = Instant::now();
    let (mut subscribed, mut seen) = (false, Vec::new());
    let mut next = 0u8;
    while seen.len() < 50 {
        assert!(start.elapsed() < LONG, "{seen:?}");
        // Dropped at whatever it was doing.
        if let Ok(event) = timeout(Duration::from_micros(300), link.next()).await {
            match event {
                LinkEvent::Connected { .. } => link.subscribe(&[filter("t")]).expect("room"),
                LinkEvent::Subscribed { .. } => subscribed = true,
                LinkEvent::Received(received) => {
                    seen.push(received.message.payload[0]);
                    link.ack(received.ack.expect("of QoS 1"));
                }
                other => panic!("{other:?}"),
            }
        }
        if subscribed
            && next < 50
            && from.publish(0, Message::new("t", vec![next], Qos::AtLeastOnce)).is_ok()
        {
            next += 1;
        }
        let _ = timeout(Duration::from_micros(300), from.next()).await;
    }
    assert_eq!(seen, (0..50).collect::<Vec<u8>>());
}
