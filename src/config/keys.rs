//! Every key of the configuration, with its type, default and meaning: the one list that the
//! environment variables and `docs/configuration.md` are made from.

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A string that names a file or directory.
    Path,
    /// A string with a unit of bytes.
    Size,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of strings; separated by commas in environment variables and flags.
    List,
}

impl Kind {
    /// For the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Path => "path",
            Self::Size => "size",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::List => "list",
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Dotted, as in TOML.
    pub path: &'static str,
    /// How its value is written.
    pub kind: Kind,
    /// What holds without it, in words.
    pub default: &'static str,
    /// What it is for, with its unit and range.
    pub doc: &'static str,
}

impl Key {
    /// `SLMD_BUDGET_MEMORY` of `budget.memory`.
    pub fn variable(&self) -> String {
        format!("SLMD_{}", self.path.replace(['.', '-'], "_").to_uppercase())
    }

    /// The key of that dotted path.
    pub fn find(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|k| k.path == path)
    }
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, doc }
}

/// Every key outside `[task.NAME]`, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key(
        "board",
        Kind::Text,
        "`auto`",
        "The board's profile: `auto` (by device tree and architecture), the name of a file in \
         `board-configs/`, or the path of one.",
    ),
    key(
        "model",
        Kind::Path,
        "the embedded default model",
        "The model's directory: of ONNX Runtime GenAI, of transformers.js, or of slmd.",
    ),
    key(
        "variant",
        Kind::Text,
        "the first that fits the memory, small weights first",
        "Which of several graphs of a transformers.js model: `q4`, `int8`, `fp16` ...",
    ),
    key(
        "engine",
        Kind::Text,
        "`auto`",
        "`ort` (ONNX Runtime), `tract`, or `auto`: ONNX Runtime if its library is found, else tract.",
    ),
    key(
        "threads",
        Kind::Integer,
        "the board's, or as many as `affinity` has CPUs if that is fewer",
        "Threads of one inference step, 1 to 256.",
    ),
    key(
        "affinity",
        Kind::Text,
        "the board's fast cores, where it has slow ones too",
        "The CPUs that the threads of inference are kept on: `4-7`, `0,2-3`, or `none` for any. All \
         other threads run where the system puts them.",
    ),
    key(
        "state-dir",
        Kind::Path,
        "`/var/lib/slmd`; for a user's own run `$XDG_STATE_HOME/slmd`",
        "Where state is kept. `$STATE_DIRECTORY`, which systemd sets, comes before it.",
    ),
    key(
        "strict-providers",
        Kind::Boolean,
        "`false`",
        "Whether a provider of the chain (`[[provider]]`) that cannot be used is an error.",
    ),
    key(
        "budget.memory",
        Kind::Size,
        "the board's share of the memory that is there",
        "The memory of the whole process, at least 16MiB.",
    ),
    key(
        "budget.context-tokens",
        Kind::Integer,
        "the board's, else 1024; the model's context if that is shorter",
        "Tokens of one session, prompt and answer together, 16 to 1048576.",
    ),
    key(
        "budget.sessions",
        Kind::Integer,
        "2",
        "Requests served at the same time, each with a KV slot of its own, 1 to 64.",
    ),
    key(
        "budget.queue",
        Kind::Integer,
        "8",
        "Requests that wait for a slot, 0 to 1024; beyond that `busy`.",
    ),
    key(
        "budget.kv",
        Kind::Text,
        "the board's, else `auto`",
        "How keys and values are kept in the slots: `f32`, `f16`, `int8`, or `auto` for what \
         `docs/engines.md` found best. ONNX Runtime takes what the graph has.",
    ),
    key(
        "latency.deadline-ms",
        Kind::Integer,
        "30000",
        "Milliseconds to the whole answer, of requests and tasks that name no deadline.",
    ),
    key(
        "latency.ttft-ms",
        Kind::Integer,
        "none",
        "Milliseconds to the first token, of requests and tasks that name no such bound.",
    ),
    key(
        "latency.max-step-ms",
        Kind::Integer,
        "60",
        "Milliseconds that one step may take, which is what an urgent prompt waits at most; \
         prefill chunks are sized by it. 1 to 60000.",
    ),
    key(
        "unix.path",
        Kind::Path,
        "`/run/slmd/slmd.sock`; for a user's own run `$XDG_RUNTIME_DIR/slmd/slmd.sock`",
        "The socket that is listened on.",
    ),
    key(
        "unix.allow-users",
        Kind::List,
        "none",
        "Users who may connect, besides root and the daemon's own user.",
    ),
    key("unix.allow-groups", Kind::List, "`slmd`", "Groups whose members may connect."),
    key(
        "thermal.zones",
        Kind::List,
        "the board's, else all",
        "The thermal zones that count, by the type that `/sys/class/thermal` gives them.",
    ),
    key(
        "thermal.warm-c",
        Kind::Integer,
        "the board's, else by the zone's trip points",
        "Degrees Celsius from which on predictions are stretched, 1 to 150; the levels are in \
         docs/pressure.md.",
    ),
    key(
        "thermal.hot-c",
        Kind::Integer,
        "as above",
        "Degrees Celsius from which on background work makes room.",
    ),
    key(
        "thermal.severe-c",
        Kind::Integer,
        "as above",
        "Degrees Celsius from which on slmd rests between steps.",
    ),
    key(
        "thermal.critical-c",
        Kind::Integer,
        "as above",
        "Degrees Celsius from which on background work pauses.",
    ),
    key(
        "thermal.hysteresis-c",
        Kind::Integer,
        "the board's, else 3",
        "Degrees below its bound at which a level is left, 1 to 30.",
    ),
    key(
        "limits.prompt-bytes",
        Kind::Integer,
        "65536",
        "Bytes of one prompt, 1 to 16777216; beyond that `too_large`.",
    ),
    key(
        "limits.max-tokens",
        Kind::Integer,
        "256",
        "Tokens of an answer whose request and task name no limit, 1 to 1048576.",
    ),
    key("limits.clients", Kind::Integer, "32", "Connections at the same time, 1 to 4096."),
    key(
        "limits.tool-rounds",
        Kind::Integer,
        "4",
        "How often the model is asked again with the results of tools, in one request: 1 to 32.",
    ),
    key(
        "mqtt.url",
        Kind::Text,
        "none: MQTT is off",
        "The broker: `mqtt://HOST[:1883]`, or with TLS `mqtts://HOST[:8883]`.",
    ),
    key(
        "mqtt.node",
        Kind::Text,
        "the host's name",
        "This device's name in topics: 1 to 64 of `A-Z a-z 0-9 _ . -`.",
    ),
    key(
        "mqtt.client-id",
        Kind::Text,
        "`slmd-NODE`",
        "What the broker knows the session by; two clients of one id end each other's connections.",
    ),
    key(
        "mqtt.username",
        Kind::Text,
        "systemd's credential `mqtt-username`, if there is one",
        "The user name for the broker.",
    ),
    key(
        "mqtt.password-file",
        Kind::Path,
        "systemd's credential `mqtt-password`, if there is one",
        "The file that holds the password for the broker; a newline at its end is left out. There \
         is no key for the password itself.",
    ),
    key(
        "mqtt.allow-plaintext-password",
        Kind::Boolean,
        "`false`",
        "Whether a password may go to another machine without TLS.",
    ),
    key(
        "mqtt.ca-file",
        Kind::Path,
        "what the system trusts",
        "The certificates to trust, PEM; `$SSL_CERT_FILE` replaces the system's.",
    ),
    key(
        "mqtt.cert-file",
        Kind::Path,
        "systemd's credential `mqtt-cert`, if there is one",
        "Our certificate for the broker, PEM, with those between it and the root.",
    ),
    key(
        "mqtt.key-file",
        Kind::Path,
        "systemd's credential `mqtt-key`, if there is one",
        "The certificate's key, PEM, not encrypted.",
    ),
    key(
        "mqtt.keep-alive-s",
        Kind::Integer,
        "30",
        "Seconds of silence at most, 5 to 3600; a dead broker is noticed after two of them.",
    ),
    key(
        "mqtt.session-expiry-s",
        Kind::Integer,
        "3600",
        "Seconds that the broker keeps our session, and prompts in it, while we are away; 0: none.",
    ),
    key(
        "mqtt.reply-topics",
        Kind::List,
        "none",
        "Topic filters where answers may be sent, besides `slmd/NODE/response/#`.",
    ),
    key(
        "mqtt.groups",
        Kind::List,
        "none",
        "Groups of devices that share requests; each request goes to one of the group.",
    ),
    key(
        "mqtt.status-interval-s",
        Kind::Integer,
        "60",
        "Seconds between two status messages, 1 to 86400.",
    ),
    key(
        "mqtt.home-assistant",
        Kind::Text,
        "none: off",
        "The prefix of Home Assistant's discovery topics, usually `homeassistant`.",
    ),
    key(
        "journal.durability",
        Kind::Text,
        "`sync`",
        "`sync`: a prompt is on the disk before it is acknowledged; `volatile`: it survives the \
         process but not a loss of power, and spares the flash.",
    ),
    key(
        "journal.max-entries",
        Kind::Integer,
        "4096",
        "Prompts and answers that are remembered, 16 to 1048576.",
    ),
    key(
        "journal.max-bytes",
        Kind::Size,
        "`4MiB`",
        "The journal's size in `state-dir/journal`, at least 64KiB.",
    ),
    key(
        "journal.max-age-s",
        Kind::Integer,
        "86400",
        "Seconds that an answer is kept for a client that asks again, 60 to 31536000.",
    ),
    key(
        "models.dir",
        Kind::Path,
        "`models` in `state-dir`",
        "Where `slmd model` keeps the models that it installs; `current` in it is the one that was \
         activated.",
    ),
    key(
        "models.keys",
        Kind::List,
        "none",
        "Public keys of minisign (`RWQ...`); a model that is signed must be signed by one of them.",
    ),
    key(
        "models.require-signature",
        Kind::Boolean,
        "`true` if there are keys",
        "Whether models that nobody signed are refused.",
    ),
    key(
        "models.max-bytes",
        Kind::Size,
        "`8GiB`",
        "The most bytes of a model that is installed, unpacked; at least 1MiB.",
    ),
    key(
        "models.trial-timeout-s",
        Kind::Integer,
        "300",
        "Seconds that the trial of a model may take before it is refused, 1 to 86400.",
    ),
    key(
        "second-model.path",
        Kind::Path,
        "none: there is no second model",
        "The directory of a model that is served beside the first, within `budget.memory`, to tasks that \
         escalate to it.",
    ),
    key(
        "second-model.sessions",
        Kind::Integer,
        "1",
        "Requests that it serves at the same time, 1 to 64.",
    ),
    key(
        "second-model.context-tokens",
        Kind::Integer,
        "1024",
        "Tokens of one of its sessions, prompt and answer together, 16 to 1048576.",
    ),
];
