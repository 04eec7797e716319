//! The topics that are slmd's own, and those that it may be asked to reply to.

use crate::core::topic;

/// The topics of one node, as `docs/mqtt.md` lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    node: String,
    groups: Vec<String>,
}

/// What a message on one of our topics is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound<'t> {
    /// A prompt, for a task if the topic names one.
    Request {
        /// The rest of the topic; a task's name has one level.
        task: Option<&'t str>,
    },
    /// What a tool says.
    Tool {
        /// The number of the call.
        call: &'t str,
    },
    /// The end of the request of that id.
    Cancel {
        /// As the client gave it.
        id: &'t str,
    },
}

impl Topics {
    /// Of `node`, which is a member of `groups`. Both are plain names: the configuration checks
    /// them.
    pub fn new(node: &str, groups: &[String]) -> Self {
        Self { node: node.to_owned(), groups: groups.to_vec() }
    }

    /// What a topic name means; none: it is not ours.
    pub fn inbound<'t>(&self, name: &'t str) -> Option<Inbound<'t>> {
        let rest = name.strip_prefix("slmd/")?;
        let rest = match rest.strip_prefix("group/") {
            Some(rest) => self.groups.iter().find_map(|group| below(rest, group))?,
            None => below(rest, &self.node)?,
        };
        match rest.split_once('/') {
            None if rest == "request" => Some(Inbound::Request { task: None }),
            Some(("request", task)) => Some(Inbound::Request { task: Some(task) }),
            Some(("cancel", id)) => Some(Inbound::Cancel { id }),
            Some(("tool", call)) => Some(Inbound::Tool { call }),
            _ => None,
        }
    }

    /// The filters that requests and cancels come by; the first are those that a draining daemon
    /// leaves first.
    pub fn filters(&self) -> Vec<String> {
        let node = &self.node;
        let shared = self.groups.iter().map(|g| format!("$share/{g}/slmd/group/{g}/request/#"));
        let cancels = self.groups.iter().map(|g| format!("slmd/group/{g}/cancel/+"));
        shared
            .chain([format!("slmd/{node}/request/#"), format!("slmd/{node}/cancel/+")])
            .chain(cancels)
            .collect()
    }

    /// The filters by which prompts come.
    pub fn request_filters(&self) -> Vec<String> {
        self.filters().into_iter().filter(|f| f.ends_with("/request/#")).collect()
    }

    /// Where the deltas of a request go.
    pub fn stream(&self, id: &str) -> String {
        format!("slmd/{}/stream/{id}", self.node)
    }

    /// Where the answer to a tool's call comes back.
    pub fn tool(&self, call: u64) -> String {
        format!("slmd/{}/tool/{call}", self.node)
    }

    /// The filter of these answers.
    pub fn tool_filter(&self) -> String {
        format!("slmd/{}/tool/+", self.node)
    }

    /// Where the retained status is.
    pub fn status(&self) -> String {
        format!("slmd/{}/status", self.node)
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }
}

/// What follows the level `first`.
fn below<'t>(topic: &'t str, first: &str) -> Option<&'t str> {
    topic.strip_prefix(first)?.strip_prefix('/')
}

/// Whether an id can be a level of a topic.
pub fn is_level(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
}

/// Where replies may go: nobody must get slmd to publish where they may not themselves.
#[derive(Debug, Clone)]
pub struct ReplyTopics {
    allowed: Vec<String>,
    forbidden: Vec<String>,
}

/// The most bytes of a topic that a client names.
const MAX_REPLY_BYTES: usize = 1024;

impl ReplyTopics {
    /// The node's own response topics and what the configuration adds; never what we listen to
    /// ourselves: `inputs` are the filters of the watches.
    pub fn new(topics: &Topics, added: &[String], inputs: &[String]) -> Self {
        let node = topics.node();
        let allowed = std::iter::once(format!("slmd/{node}/response/#")).chain(added.to_vec());
        let own = ["request/#", "cancel/#", "stream/#", "tool/#", "status"];
        let own =
            own.into_iter().flat_map(|t| [format!("slmd/+/{t}"), format!("slmd/group/+/{t}")]);
        Self { allowed: allowed.collect(), forbidden: own.chain(inputs.to_vec()).collect() }
    }

    /// Whether a reply may go to `name`.
    ///
    /// # Errors
    /// What is wrong with it, for the log.
    pub fn check(&self, name: &str) -> Result<(), &'static str> {
        if !topic::is_name(name) || name.starts_with('$') || name.len() > MAX_REPLY_BYTES {
            return Err("it is not the name of a topic that can be published to");
        }
        if name.chars().any(char::is_control) {
            return Err("it has control characters");
        }
        if self.forbidden.iter().any(|filter| topic::matches(filter, name)) {
            return Err("it is one that slmd itself listens to or speaks on");
        }
        match self.allowed.iter().any(|filter| topic::matches(filter, name)) {
            true => Ok(()),
            false => Err("it is not among mqtt.reply-topics"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new("press-7", &["line-a".into(), "line-b".into()])
    }

    #[test]
    fn what_a_topic_means() {
        let topics = topics();
        for (name, meaning) in [
            ("slmd/press-7/request", Some(Inbound::Request { task: None })),
            ("slmd/press-7/request/alert", Some(Inbound::Request { task: Some("alert") })),
            ("slmd/press-7/cancel/x.1", Some(Inbound::Cancel { id: "x.1" })),
            ("slmd/group/line-a/request", Some(Inbound::Request { task: None })),
            ("slmd/group/line-b/request/t", Some(Inbound::Request { task: Some("t") })),
            ("slmd/group/line-a/cancel/9", Some(Inbound::Cancel { id: "9" })),
            ("slmd/press-7/request/a/b", Some(Inbound::Request { task: Some("a/b") })),
            ("slmd/press-7/request/", Some(Inbound::Request { task: Some("") })),
            ("slmd/press-7/tool/12", Some(Inbound::Tool { call: "12" })),
            ("slmd/press-70/request", None),
            ("slmd/press-7/cancel", None),
            ("slmd/press-8/request", None),
            ("slmd/group/line-c/request", None),
            ("slmd/press-7/status", None),
            ("other", None),
        ] {
            assert_eq!(topics.inbound(name), meaning, "{name}");
        }
    }

    #[test]
    fn every_filter_leads_back_to_a_meaning() {
        let topics = topics();
        for filter in topics.filters().into_iter().chain([topics.tool_filter()]) {
            let plain = filter.splitn(3, '/').last().filter(|_| filter.starts_with("$share/"));
            let name = plain.unwrap_or(&filter).replace("/#", "/t").replace('+', "t");
            assert!(topics.inbound(&name).is_some(), "{filter} {name}");
        }
        assert_eq!(topics.request_filters().len(), 3);
    }

    #[test]
    fn replies_go_where_they_may() {
        let replies = ReplyTopics::new(
            &topics(),
            &["factory/+/answers".into(), "slmd/#".into(), "sensors/#".into()],
            &["sensors/+/rms".into()],
        );
        for good in
            ["slmd/press-7/response/c/1", "factory/a/answers", "sensors/x", "slmd/p/response"]
        {
            assert_eq!(replies.check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "factory/+/answers",
            "factory/#",
            "$SYS/x",
            "elsewhere",
            "factory/a/b/answers",
            "slmd/press-7/request",
            "slmd/press-7/request/t",
            "slmd/other/cancel/1",
            "slmd/group/line-a/request/x",
            "slmd/press-7/status",
            "slmd/press-7/stream/1",
            "slmd/press-7/tool/1",
            "sensors/a/rms",
            "sensors/a\nb",
        ] {
            assert!(replies.check(bad).is_err(), "{bad}");
        }
        assert!(replies.check(&format!("slmd/press-7/response/{}", "x".repeat(2000))).is_err());
    }
}
