//! Calls of tools that run on this device: a program, or a message.

use super::routes::BoundTool;
use crate::child::{self, ChildError};
use crate::core::tool::{Action, ToolCall};
use serde_json::json;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Programs that run at the same time, of all requests together.
pub const PROGRAMS: usize = 8;
/// The most bytes of arguments: less than a pipe holds, so that a program that does not read them is
/// stopped in time.
const MAX_ARGUMENTS_BYTES: usize = 32 << 10;
/// The most bytes of a result; the rest is left out, and the model is told.
const MAX_RESULT_BYTES: usize = 16 << 10;
/// Where programs are looked for by the one that runs.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Something to be published on the message broker.
#[derive(Debug)]
pub struct Notice {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// Who waits for what.
    pub then: Then,
}

/// What somebody waits for; dropped, it will not come.
#[derive(Debug)]
pub enum Then {
    /// Nobody waits: it may be published when the broker is there again.
    Nothing,
    /// That it is on its way. It is dropped if it is not at once: what it does is wanted now.
    Sent(oneshot::Sender<()>),
    /// What comes back to its response topic. Dropped likewise.
    Answered(oneshot::Sender<Vec<u8>>),
}

/// Runs one call; gives what the model is told, and whether it went well.
pub async fn call(
    tool: &BoundTool,
    call: &ToolCall,
    left: Duration,
    notices: &mpsc::Sender<Notice>,
    programs: &Arc<Semaphore>,
) -> (String, bool) {
    let limit = tool.timeout.min(left);
    let outcome = match &tool.action {
        Some(Action::Run(command)) => run(command, call, limit, programs).await,
        Some(Action::Publish { topic, answers }) => {
            publish(topic, *answers, call, limit, notices).await
        }
        None => Err("nothing is bound to it".to_owned()),
    };
    match outcome {
        Ok(result) => (clipped(result), true),
        Err(problem) => {
            tracing::warn!(tool = call.name, problem, "a tool failed");
            (json!({"error": problem}).to_string(), false)
        }
    }
}

/// The program has the call's arguments on its standard input, and of our environment nothing.
async fn run(
    command: &[String],
    call: &ToolCall,
    limit: Duration,
    programs: &Arc<Semaphore>,
) -> Result<String, String> {
    if call.arguments.len() > MAX_ARGUMENTS_BYTES {
        return Err(format!("its arguments have more than {MAX_ARGUMENTS_BYTES} bytes"));
    }
    let until = Instant::now() + limit;
    let late = |_| format!("{PROGRAMS} programs run already, and none has ended in time");
    let place = timeout(limit, Arc::clone(programs).acquire_owned()).await.map_err(late)?;
    let left = until.saturating_duration_since(Instant::now());
    let [program, arguments @ ..] = command else { return Err("no program".to_owned()) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).env("SLMD_TOOL", &call.name);
    command.current_dir("/");
    let input = call.arguments.clone().into_bytes();
    let work = move || {
        let ended = child::run(command, &input, left);
        // Not when its request is cancelled: the program goes on.
        drop(place);
        ended
    };
    let ended = tokio::task::spawn_blocking(work).await;
    let ended = ended.map_err(|e| e.to_string())?.map_err(|e| match e {
        ChildError::Timeout(_) => format!("no end after {} ms", limit.as_millis()),
        error => error.to_string(),
    })?;
    if !ended.is_success() {
        return Err(ended.how());
    }
    String::from_utf8(ended.output)
        .map(|text| text.trim_end().to_owned())
        .map_err(|_| "its output is not UTF-8".to_owned())
}

async fn publish(
    topic: &str,
    answers: bool,
    call: &ToolCall,
    limit: Duration,
    notices: &mpsc::Sender<Notice>,
) -> Result<String, String> {
    let ((sent, is_sent), (answer, answered)) = (oneshot::channel(), oneshot::channel());
    let then = if answers { Then::Answered(answer) } else { Then::Sent(sent) };
    let payload = call.arguments.clone().into_bytes();
    let notice = Notice { topic: topic.to_owned(), payload, then };
    let unheard = |_| "too many messages wait to be published".to_owned();
    notices.try_send(notice).map_err(unheard)?;
    let late = |_| format!("no answer after {} ms", limit.as_millis());
    let gone = |_| "there is no connection to the broker".to_owned();
    match answers {
        true => {
            let payload = timeout(limit, answered).await.map_err(late)?.map_err(gone)?;
            String::from_utf8(payload).map_err(|_| "its answer is not UTF-8".to_owned())
        }
        false => {
            timeout(limit, is_sent).await.map_err(late)?.map_err(gone)?;
            Ok(json!({"published": topic}).to_string())
        }
    }
}

fn clipped(mut result: String) -> String {
    if result.len() > MAX_RESULT_BYTES {
        result.truncate(result.floor_char_boundary(MAX_RESULT_BYTES));
        result.push_str(" [cut]");
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(action: Action, ms: u64) -> BoundTool {
        BoundTool { name: "t".into(), action: Some(action), timeout: Duration::from_millis(ms) }
    }

    fn of(arguments: &str) -> ToolCall {
        ToolCall { id: "1".into(), name: "t".into(), arguments: arguments.into() }
    }

    fn sh(script: &str) -> Action {
        Action::Run(vec!["/bin/sh".into(), "-c".into(), script.into()])
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_program_hears_its_arguments_and_nothing_of_ours() {
        let (notices, _) = mpsc::channel(1);
        let programs = Arc::new(Semaphore::new(1));
        let ask = |action, ms| {
            let notices = notices.clone();
            let programs = Arc::clone(&programs);
            async move { call(&tool(action, ms), &of(r#"{"a":1}"#), LONG, &notices, &programs).await }
        };
        assert_eq!(ask(sh("cat; echo"), 10_000).await, (r#"{"a":1}"#.into(), true));
        assert_eq!(ask(sh("echo $SLMD_TOOL $HOME"), 10_000).await, ("t".into(), true));
        let (said, well) = ask(sh("echo odd >&2; exit 3"), 10_000).await;
        assert!(said.contains("ended with code 3; its last words: odd") && !well, "{said}");
        let (said, well) = ask(sh("sleep 60"), 100).await;
        assert!(said.contains("no end after 100 ms") && !well, "{said}");
        let (said, _) = ask(sh("head -c 100000 /dev/zero | tr '\\0' x"), 10_000).await;
        assert!(said.len() < 17_000 && said.ends_with("[cut]"));
        let (said, well) = ask(Action::Run(vec!["/no/such".into()]), 100).await;
        assert!(said.contains("cannot be run") && !well, "{said}");
        // One at a time here.
        let place = programs.acquire().await.expect("open");
        let (said, well) = ask(sh("echo"), 50).await;
        assert!(said.contains("programs run already") && !well, "{said}");
        drop(place);
        assert!(ask(sh("echo"), 10_000).await.1);
    }

    #[tokio::test]
    async fn a_message_is_published_and_may_be_answered() {
        let (notices, mut published) = mpsc::channel(1);
        let ask = |answers, ms| {
            let (tool, notices) =
                (tool(Action::Publish { topic: "a/b".into(), answers }, ms), notices.clone());
            tokio::spawn(async move {
                let programs = Arc::new(Semaphore::new(1));
                call(&tool, &of("{}"), LONG, &notices, &programs).await
            })
        };
        let late = ask(false, 50).await.expect("it ends");
        assert!(late.0.contains("no answer after 50 ms") && !late.1, "{late:?}");
        let full = ask(false, 50).await.expect("it ends");
        assert!(full.0.contains("too many") && !full.1, "{full:?}");
        let notice = published.recv().await.expect("published");
        assert_eq!((&*notice.topic, &*notice.payload), ("a/b", &b"{}"[..]));
        let sent = ask(false, 10_000);
        let Then::Sent(then) = published.recv().await.expect("published").then else {
            panic!("sent")
        };
        then.send(()).expect("it waits");
        assert_eq!(sent.await.expect("it ends"), (r#"{"published":"a/b"}"#.to_owned(), true));
        let answered = ask(true, 10_000);
        let notice = published.recv().await.expect("published");
        let Then::Answered(then) = notice.then else { panic!("answered") };
        then.send(b"21".to_vec()).expect("it waits");
        assert_eq!(answered.await.expect("it ends"), ("21".to_owned(), true));
        let alone = ask(true, 10_000);
        drop(published.recv().await);
        assert!(alone.await.expect("it ends").0.contains("no connection"));
    }
}
