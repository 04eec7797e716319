use super::*;
use crate::core::request::RequestId;
use crate::wire::Answer;
use proptest::prelude::*;

fn quota(selector: Selector, requests: Option<u32>, tokens: Option<u32>) -> Quota {
    Quota {
        name: "somebody".into(),
        selector,
        requests_per_minute: requests,
        tokens_per_minute: tokens,
        max_priority: Priority::Urgent,
    }
}

fn topic(filter: &str, requests: Option<u32>, tokens: Option<u32>) -> Quota {
    quota(Selector::Topic(filter.into()), requests, tokens)
}

fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
    Peer { uid, gid, groups: groups.to_vec(), pid: 1 }
}

/// A request of the only account.
fn ask(quotas: &mut Quotas, now_ms: u64) -> Result<(), RejectReason> {
    quotas.submit(now_ms, Some(AccountId(0)), None, || Ok(()))
}

fn failed(code: ErrorCode, tokens: u32) -> Event {
    Event { request: RequestId(1), reply: Reply::refuse(None, code, "no"), tokens }
}

#[test]
fn requests_run_out_and_come_back_evenly() {
    let mut quotas = Quotas::new(vec![topic("#", Some(2), None)]);
    assert!(ask(&mut quotas, 1_000).is_ok() && ask(&mut quotas, 1_000).is_ok());
    let reason = ask(&mut quotas, 1_000).expect_err("used up");
    assert_eq!(reason.code, ErrorCode::OverQuota);
    assert!(reason.message.contains("2 requests a minute are used up"), "{reason}");
    assert!(reason.message.contains("30000 ms"), "{reason}");
    assert!(ask(&mut quotas, 16_000).is_err(), "half of one is not one");
    assert!(ask(&mut quotas, 30_999).is_err());
    assert!(ask(&mut quotas, 31_000).is_ok());
    assert!(ask(&mut quotas, 31_001).is_err());
}

#[test]
fn a_slow_rate_asked_often_still_fills() {
    let mut bucket = Bucket::new(1);
    bucket.take(0, 1);
    for now in 1..=60_060 {
        bucket.fill(now);
    }
    assert_eq!(bucket.wait_ms(), 0);
}

#[test]
fn tokens_may_be_overdrawn_once() {
    let mut quotas = Quotas::new(vec![topic("#", None, Some(600))]);
    quotas.spend(0, AccountId(0), 900);
    let reason = ask(&mut quotas, 0).expect_err("overdrawn");
    assert!(reason.message.contains("600 tokens a minute"), "{reason}");
    assert_eq!(quotas.report(0)[0]["tokens"], json!({ "per_minute": 600, "left": -300 }));
    assert!(ask(&mut quotas, 30_000).is_err());
    assert!(ask(&mut quotas, 30_100).is_ok());
}

#[test]
fn a_debt_of_more_than_a_minute_is_paid_in_full() {
    let mut quotas = Quotas::new(vec![topic("#", None, Some(60))]);
    quotas.spend(0, AccountId(0), 240);
    assert!(ask(&mut quotas, 180_000).is_err());
    assert!(ask(&mut quotas, 181_000).is_ok());
}

#[test]
fn what_the_runtime_has_no_room_for_is_not_booked() {
    let mut quotas = Quotas::new(vec![topic("#", Some(1), Some(100))]);
    let busy = || Err::<(), _>(RejectReason::new(ErrorCode::Busy, "full"));
    for _ in 0..5 {
        let reason = quotas.submit(0, Some(AccountId(0)), None, busy).expect_err("full");
        assert_eq!(reason.code, ErrorCode::Busy);
    }
    assert!(ask(&mut quotas, 0).is_ok());
    assert!(ask(&mut quotas, 0).is_err());
    quotas.ended(0, AccountId(0), &failed(ErrorCode::Busy, 0));
    assert!(ask(&mut quotas, 0).is_ok(), "given back");
    quotas.ended(0, AccountId(0), &failed(ErrorCode::DeadlineInfeasible, 0));
    assert!(ask(&mut quotas, 0).is_err(), "the client's own fault");
}

#[test]
fn every_end_books_what_was_computed() {
    let mut quotas = Quotas::new(vec![topic("#", None, Some(1_000))]);
    let mut left = |event: &Event| {
        quotas.ended(0, AccountId(0), event);
        quotas.report(0)[0]["tokens"]["left"].clone()
    };
    let answer = Reply::Answer(Box::new(Answer { text: "x".into(), ..Answer::default() }));
    assert_eq!(left(&Event { request: RequestId(1), reply: answer, tokens: 100 }), 900);
    assert_eq!(left(&failed(ErrorCode::Cancelled, 30)), 870);
    assert_eq!(left(&failed(ErrorCode::DeadlineExceeded, 20)), 850);
}

#[test]
fn the_first_quota_that_is_about_a_topic_counts() {
    let quotas =
        Quotas::new(vec![topic("n/request/chat", Some(1), None), topic("n/#", None, Some(1))]);
    let account = |name| quotas.account(Asker::Topic(name));
    assert_eq!(account("n/request/chat"), Some(AccountId(0)));
    assert_eq!(account("n/request/other"), Some(AccountId(1)));
    assert_eq!(account("elsewhere"), None);
    assert_eq!(quotas.account(Asker::Peer(&peer(7, 7, &[]))), None);
}

#[test]
fn peers_are_known_by_user_and_by_any_of_their_groups() {
    let quotas = Quotas::new(vec![
        quota(Selector::User(70_001), Some(1), None),
        quota(Selector::Group(80_001), Some(1), None),
        quota(Selector::Others, Some(1), None),
    ]);
    let account = |peer: Peer| quotas.account(Asker::Peer(&peer)).map(|id| id.0);
    assert_eq!(account(peer(70_001, 80_001, &[])), Some(0), "the first counts");
    assert_eq!(account(peer(70_002, 80_001, &[])), Some(1));
    assert_eq!(account(peer(70_002, 5, &[6, 80_001])), Some(1));
    assert_eq!(account(peer(70_002, 5, &[6])), Some(2));
    assert_eq!(quotas.account(Asker::Topic("a")), None);
}

#[test]
fn root_is_held_to_a_quota_only_by_name() {
    let unnamed = [Selector::Group(0), Selector::Others].map(|s| quota(s, Some(1), None));
    let root = peer(0, 0, &[]);
    assert_eq!(Quotas::new(unnamed.to_vec()).account(Asker::Peer(&root)), None);
    let named = Quotas::new(vec![quota(Selector::User(0), Some(1), None)]);
    assert_eq!(named.account(Asker::Peer(&root)), Some(AccountId(0)));
}

#[test]
fn a_higher_priority_than_allowed_is_refused_and_not_booked() {
    let quota = Quota { max_priority: Priority::Normal, ..topic("#", Some(1), None) };
    let mut quotas = Quotas::new(vec![quota]);
    let account = Some(AccountId(0));
    assert_eq!(quotas.max_priority(account), Priority::Normal);
    assert_eq!(quotas.max_priority(None), Priority::Urgent);
    let urgent = quotas.submit(0, account, Some(Priority::Urgent), || Ok(())).expect_err("no");
    assert_eq!(urgent.code, ErrorCode::OverQuota);
    assert!(urgent.message.contains("normal at most"), "{urgent}");
    assert!(quotas.submit(0, account, Some(Priority::Normal), || Ok(())).is_ok());
}

#[derive(Debug, Clone)]
enum Step {
    Ask,
    AskWhileFull,
    EndBusy,
    Wait(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Ask),
        1 => Just(Step::AskWhileFull),
        1 => Just(Step::EndBusy),
        3 => (0..5_000u32).prop_map(Step::Wait),
        1 => (0..200_000u32).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..400)
}

proptest! {
    /// Over any stretch of time no more gets in than the rate and one minute's burst, and who waits
    /// as long as the refusal says gets in.
    #[test]
    fn no_more_gets_in_than_the_rate_and_a_burst(per_minute in 1..200u32, steps in steps()) {
        let mut quotas = Quotas::new(vec![topic("#", Some(per_minute), None)]);
        let (mut now_ms, mut let_in) = (0, Vec::<u64>::new());
        for step in steps {
            match step {
                Step::Wait(ms) => now_ms += u64::from(ms),
                Step::AskWhileFull => {
                    let full = || Err::<(), _>(RejectReason::new(ErrorCode::Busy, "full"));
                    prop_assert!(quotas.submit(now_ms, Some(AccountId(0)), None, full).is_err());
                }
                Step::EndBusy => {
                    if let_in.pop().is_some() {
                        quotas.ended(now_ms, AccountId(0), &failed(ErrorCode::Busy, 0));
                    }
                }
                Step::Ask => match ask(&mut quotas, now_ms) {
                    Ok(()) => let_in.push(now_ms),
                    Err(reason) => {
                        let wait = reason.message.split(' ').rev().nth(1).expect("a time");
                        now_ms += wait.parse::<u64>().expect("a number");
                        prop_assert!(ask(&mut quotas, now_ms).is_ok(), "{reason}");
                        let_in.push(now_ms);
                    }
                },
            }
        }
        for (i, from) in let_in.iter().enumerate() {
            let (minutes, got_in) = ((now_ms - from) as f64 / 60_000.0, let_in.len() - i);
            let most = f64::from(per_minute) * (minutes + 1.0);
            prop_assert!(got_in as f64 <= most + 1e-6, "{got_in} of {most}");
        }
    }
}
