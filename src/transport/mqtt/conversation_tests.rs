use super::*;
use crate::transport::mqtt::dial::next_packet;
use proptest::prelude::*;
use rumqttc::mqttbytes::v5::{ConnAckProperties, ConnectReturnCode, PubAckReason};

const KEEP_ALIVE: Duration = Duration::from_secs(30);

fn accepted(properties: Option<ConnAckProperties>) -> ConnAck {
    ConnAck { session_present: false, code: ConnectReturnCode::Success, properties }
}

fn properties(server_keep_alive: Option<u16>, receive_max: Option<u16>) -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: None,
        receive_max,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

fn talk(properties: Option<ConnAckProperties>, now: Instant) -> Conversation {
    let terms = Terms { generation: 1, keep_alive: KEEP_ALIVE, receive_maximum: 4 };
    Conversation::new(terms, &accepted(properties), now)
}

/// Whatever waits for the socket is gone.
fn drain(talk: &mut Conversation, now: Instant) -> usize {
    let bytes = talk.outgoing().len();
    if bytes > 0 {
        talk.outgoing().clear();
        talk.written(now);
    }
    bytes
}

fn sure(payload: usize) -> Message {
    Message::new("t", vec![0; payload], Qos::AtLeastOnce)
}

fn chunk(payload: usize) -> Message {
    Message::new("t", vec![0; payload], Qos::AtMostOnce)
}

fn incoming(pkid: u16, qos: QoS) -> Packet {
    Packet::Publish(Publish { pkid, ..Publish::new("t", qos, "x", None) })
}

fn ack_of(talk: &mut Conversation) -> Ack {
    match talk.next_event() {
        Some(LinkEvent::Received(received)) => received.ack.expect("of QoS 1"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_silent_broker_is_pinged_and_then_given_up() {
    let start = Instant::now();
    let mut talk = talk(None, start);
    assert_eq!(talk.deadline(), start + KEEP_ALIVE);
    talk.tick(start + KEEP_ALIVE - Duration::from_millis(1)).expect("early");
    assert_eq!(drain(&mut talk, start), 0);
    talk.tick(start + KEEP_ALIVE).expect("a ping");
    assert_eq!(talk.outgoing().as_ref(), [0xc0, 0], "PINGREQ");
    talk.tick(start + KEEP_ALIVE).expect("one ping is enough");
    drain(&mut talk, start + KEEP_ALIVE);
    assert_eq!(talk.deadline(), start + 2 * KEEP_ALIVE);
    let end = talk.tick(start + 2 * KEEP_ALIVE).expect_err("dead");
    assert_eq!(end.reason, "no sign of life from the broker for 60 s");
}

#[test]
fn sending_is_no_sign_of_life() {
    let start = Instant::now();
    let mut talk = talk(None, start);
    let mut ended = None;
    // Something is sent every second, whether or not it is taken off our hands.
    for second in 1..=60 {
        let now = start + Duration::from_secs(second);
        let _ = talk.publish(0, chunk(10));
        if second < 20 {
            drain(&mut talk, now);
        }
        if talk.tick(now).is_err() {
            ended = Some(second);
            break;
        }
    }
    assert_eq!(ended, Some(60));
}

#[test]
fn any_byte_is_a_sign_of_life_and_listening_keeps_the_broker_content() {
    let start = Instant::now();
    let mut talk = talk(None, start);
    let mut pings = 0;
    // The broker speaks every second; we say nothing, but must not be silent for long.
    for second in 1..=120 {
        let now = start + Duration::from_secs(second);
        talk.heard(now);
        talk.tick(now).expect("it lives");
        pings += drain(&mut talk, now) / 2;
    }
    assert_eq!(pings, 4, "one in each keep-alive time");
}

#[test]
fn the_brokers_keep_alive_is_kept_if_it_is_shorter() {
    let start = Instant::now();
    for (server, seconds) in [(None, 30), (Some(7), 7), (Some(0), 30), (Some(999), 30)] {
        let talk = talk(Some(properties(server, None)), start);
        assert_eq!(talk.deadline(), start + Duration::from_secs(seconds), "{server:?}");
    }
}

#[test]
fn the_window_is_ours_or_the_brokers() {
    let start = Instant::now();
    for (broker, window) in [(None, 16), (Some(3), 3), (Some(1000), 16)] {
        let mut talk = talk(Some(properties(None, broker)), start);
        let sent = (0..100).take_while(|&tag| talk.publish(tag, sure(1)).is_ok()).count();
        assert_eq!(sent, window, "{broker:?}");
        assert_eq!(talk.publish(0, sure(1)), Err(NotSent::Full));
        talk.receive(Packet::PubAck(PubAck::new(1, None))).expect("sound");
        let confirmed = LinkEvent::Published { tag: 0, generation: 1, outcome: Ok(0) };
        assert_eq!(talk.next_event(), Some(confirmed));
        assert_eq!(talk.next_event(), Some(LinkEvent::Room));
        assert_eq!(talk.next_event(), None, "once");
        talk.publish(0, sure(1)).expect("room");
    }
}

#[test]
fn packet_ids_in_use_are_not_given_twice() {
    let start = Instant::now();
    let mut talk = talk(None, start);
    talk.publish(99, sure(1)).expect("room");
    // The first stays unconfirmed while the ids go round.
    for round in 0..70_000u64 {
        talk.publish(round, sure(1)).expect("room");
        let id = *talk.published.keys().find(|&&id| id != 1).expect("the new one");
        talk.receive(Packet::PubAck(PubAck::new(id, None))).expect("sound");
        drain(&mut talk, start);
        while talk.next_event().is_some() {}
    }
    assert_eq!(talk.published.len(), 1);
    let lost = talk.into_events();
    assert_eq!(lost, [LinkEvent::Published { tag: 99, generation: 1, outcome: Err(Lost) }]);
}

#[test]
fn a_socket_that_takes_nothing_fills_up_but_acks_go_in() {
    let start = Instant::now();
    let mut talk = talk(None, start);
    while talk.publish(0, chunk(1000)).is_ok() {}
    assert!(talk.outgoing().len() < OUTGOING_LIMIT + 1010);
    assert_eq!(talk.publish(0, sure(1)), Err(NotSent::Full));
    for id in 1..=4 {
        talk.receive(incoming(id, QoS::AtLeastOnce)).expect("within the receive maximum");
    }
    let before = talk.outgoing().len();
    for _ in 0..4 {
        let ack = ack_of(&mut talk);
        talk.ack(&ack);
        talk.ack(&ack);
    }
    assert_eq!(talk.outgoing().len() - before, 4 * 4, "each once");
    drain(&mut talk, start);
    assert_eq!(talk.next_event(), Some(LinkEvent::Room));
}

#[test]
fn a_broker_that_takes_no_answers_is_not_listened_to() {
    let start = Instant::now();
    let mut talk = talk(None, start);
    let mut rounds = 0;
    while talk.may_read() {
        talk.receive(incoming(1, QoS::AtLeastOnce)).expect("sound");
        let ack = ack_of(&mut talk);
        talk.ack(&ack);
        rounds += 1;
        assert!(rounds < 100_000, "without end");
    }
    assert!(talk.outgoing().len() <= REPLY_LIMIT + 4);
    drain(&mut talk, start);
    assert!(talk.may_read());
}

#[test]
fn more_than_the_receive_maximum_ends_it() {
    let mut talk = talk(None, Instant::now());
    for id in 1..=4 {
        talk.receive(incoming(id, QoS::AtLeastOnce)).expect("allowed");
    }
    talk.receive(incoming(0, QoS::AtMostOnce)).expect("QoS 0 does not count");
    let end = talk.receive(incoming(5, QoS::AtLeastOnce)).expect_err("one too many");
    assert_eq!(end.say, Some(DisconnectReasonCode::ReceiveMaximumExceeded));
}

#[test]
fn an_ack_of_another_connection_does_nothing() {
    let mut talk = talk(None, Instant::now());
    talk.receive(incoming(3, QoS::AtLeastOnce)).expect("sound");
    talk.ack(&Ack { generation: 0, packet: 3, exactly_once: false });
    assert!(talk.outgoing().is_empty());
    talk.ack(&Ack { generation: 1, packet: 3, exactly_once: false });
    assert_eq!(talk.outgoing().len(), 4);
}

#[test]
fn what_cannot_be_said_leaves_no_trace() {
    let mut talk = talk(None, Instant::now());
    let long = "x".repeat(70_000);
    let mut wrong = sure(1);
    wrong.properties.user.push((long.clone(), String::new()));
    for message in [wrong, Message::new(long, "", Qos::AtLeastOnce)] {
        assert!(matches!(talk.publish(1, message), Err(NotSent::Invalid(_))));
        assert!(talk.outgoing().is_empty() && talk.published.is_empty());
    }
    let mut other = talk;
    other.limits.max_qos = 0;
    assert!(matches!(other.publish(1, sure(1)), Err(NotSent::Invalid(_))));
}

#[test]
fn refusals_are_passed_on() {
    let mut talk = talk(None, Instant::now());
    talk.publish(5, sure(1)).expect("room");
    let mut refused = PubAck::new(1, None);
    refused.reason = PubAckReason::QuotaExceeded;
    talk.receive(Packet::PubAck(refused.clone())).expect("sound");
    let over = LinkEvent::Published { tag: 5, generation: 1, outcome: Ok(0x97) };
    assert_eq!(talk.next_event(), Some(over));
    talk.receive(Packet::PubAck(refused)).expect("one that nobody waits for is ignored");
    assert_eq!(talk.next_event(), None);

    let taken = Disconnect::new(DisconnectReasonCode::SessionTakenOver);
    let end = talk.receive(Packet::Disconnect(taken)).expect_err("over");
    assert_eq!(end.takeover, Takeover::Yes);
    let busy = Disconnect::new(DisconnectReasonCode::ServerBusy);
    let end = talk.receive(Packet::Disconnect(busy)).expect_err("over");
    assert_eq!(end, End::broken("the broker hung up: ServerBusy"));
}

#[test]
fn an_answer_that_does_not_fit_its_question_ends_it() {
    let mut talk = talk(None, Instant::now());
    let wanted = ["a", "b"].map(|filter| Subscription {
        filter: filter.into(),
        qos: Qos::AtLeastOnce,
        retained: Retained::Never,
        no_local: false,
    });
    talk.subscribe(&wanted).expect("room");
    let codes = vec![SubscribeReasonCode::NotAuthorized];
    let answer = SubAck { pkid: 1, return_codes: codes, properties: None };
    assert!(talk.receive(Packet::SubAck(answer)).is_err());
}

/// Feeds the bytes in pieces of `piece`, as the socket would; whether they were all sound.
fn feed(bytes: &[u8], piece: usize) -> bool {
    let mut talk = talk(None, Instant::now());
    let mut incoming = BytesMut::new();
    for part in bytes.chunks(piece) {
        incoming.extend_from_slice(part);
        loop {
            match next_packet(&mut incoming, 4096) {
                Ok(None) => break,
                Ok(Some(packet)) => match talk.receive(packet) {
                    Ok(()) => {}
                    Err(_) => return false,
                },
                Err(_) => return false,
            }
        }
    }
    true
}

/// One packet of every kind that a broker sends, with properties of every kind.
fn spoken() -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let mut message = sure(20);
    message.properties.user.push(("k".into(), "v".into()));
    message.properties.correlation = Some(vec![1; 4].into());
    message.properties.response_topic = Some("r".into());
    message.properties.expiry_s = Some(9);
    let mut publish = publish(message, 1);
    let identifiers = publish.properties.as_mut().map(|p| &mut p.subscription_identifiers);
    identifiers.expect("there are properties").push(300);
    let packets = [
        Packet::Publish(publish),
        Packet::PubAck(PubAck::new(1, None)),
        Packet::SubAck(SubAck {
            pkid: 1,
            return_codes: vec![SubscribeReasonCode::Failure],
            properties: None,
        }),
        Packet::PubRel(rumqttc::mqttbytes::v5::PubRel::new(1, None)),
        Packet::PingResp,
        Packet::Disconnect(Disconnect::new(DisconnectReasonCode::ServerBusy)),
        Packet::ConnAck(accepted(Some(properties(Some(1), Some(2))))),
    ];
    for packet in packets {
        packet.write(&mut bytes, None).expect("sound");
    }
    bytes.to_vec()
}

/// At least 2000 cases, or `$PROPTEST_CASES`.
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(2000), ..usual }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_bytes_bring_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..64), piece in 1usize..9) {
        feed(&bytes, piece);
    }

    #[test]
    fn nor_do_packets_with_some_bytes_changed(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        start in any::<prop::sample::Index>(),
        piece in 1usize..200,
    ) {
        let mut bytes = spoken();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        feed(&bytes[start.index(bytes.len())..], piece);
        feed(&bytes, piece);
    }
}

#[test]
fn what_is_spoken_is_understood() {
    let bytes = spoken();
    // Up to the broker's good-bye.
    let sound = bytes.windows(2).position(|w| w[0] == 0xe0).expect("DISCONNECT");
    assert!(feed(&bytes[..sound], 3));
    assert!(!feed(&bytes, 3));
}
