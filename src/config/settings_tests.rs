use super::super::environment::Environment;
use super::*;

fn defaults() -> Defaults {
    Defaults {
        providers: Vec::new(),
        board: "test-board".into(),
        threads: 3,
        memory_bytes: Some(1 << 30),
        context_tokens: None,
        sessions: Some(4),
        ..Defaults::default()
    }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|&(k, v)| (k.into(), v.into())).collect();
    Environment { variables, is_root: true, host_name: Some("edge 7.local".into()) }
}

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("conf.d")).expect("a directory");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("writable");
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, String> {
        let flags: Vec<(&str, String)> = flags.iter().map(|&(k, v)| (k, v.to_owned())).collect();
        let environment = environment(variables);
        Config::load(Some(&self.path("config.toml")), &environment, &flags)
            .and_then(|config| config.settings(&environment, &defaults()))
            .map_err(|e| e.to_string().replace(&format!("{}/", self.dir.path().display()), ""))
    }
}

/// What is said of a file that is refused.
pub(in super::super) fn refusal(text: &str) -> String {
    Case::new(&[("config.toml", text)]).load(&[], &[]).expect_err("refused")
}

/// What a sound file says.
pub(in super::super) fn settings(text: &str) -> Settings {
    Case::new(&[("config.toml", text)]).load(&[], &[]).expect("sound")
}

#[test]
fn nothing_written_is_a_configuration() {
    let settings = Case::new(&[("config.toml", "")]).load(&[], &[]).expect("sound");
    assert_eq!(settings.threads, Sourced::new(3, Origin::Board("test-board".into())));
    assert_eq!(settings.memory_bytes.value, 1 << 30);
    assert_eq!(settings.context_tokens, Sourced::new(1024, Origin::Default));
    assert_eq!(settings.sessions, Sourced::new(4, Origin::Board("test-board".into())));
    assert_eq!(settings.state_dir.value, PathBuf::from("/var/lib/slmd"));
    assert_eq!(settings.unix_path.value, PathBuf::from("/run/slmd/slmd.sock"));
    assert_eq!(settings.allow_groups.value, ["slmd"]);
    assert_eq!(settings.ttft_ms.value, None);
    assert_eq!(settings.entries().len(), super::super::keys::KEYS.len());
}

#[test]
fn flags_beat_variables_beat_files_and_later_files_win() {
    let case = Case::new(&[
        ("config.toml", "threads = 1\n[budget]\nqueue = 1\nsessions = 1\nmemory = '100MiB'\n"),
        ("conf.d/20.toml", "[budget]\nqueue = 3\n"),
        ("conf.d/10.toml", "\n[budget]\nqueue = 2\nsessions = 2\n"),
        ("conf.d/ignored.bak", "nonsense"),
    ]);
    let settings = case
        .load(&[("SLMD_THREADS", "5"), ("SLMD_BUDGET_MEMORY", "200MiB")], &[("threads", "6")])
        .expect("sound");
    assert_eq!(settings.threads, Sourced::new(6, Origin::Flag("--threads".into())));
    assert_eq!(settings.queue, Sourced::new(3, Origin::File(case.path("conf.d/20.toml"), 2)));
    assert_eq!(settings.sessions, Sourced::new(2, Origin::File(case.path("conf.d/10.toml"), 4)));
    let variable = Origin::Variable("SLMD_BUDGET_MEMORY".into());
    assert_eq!(settings.memory_bytes, Sourced::new(200 << 20, variable));
    let entry = settings.entries().into_iter().find(|e| e.key == "threads").expect("listed");
    assert_eq!((entry.value.as_str(), entry.origin.to_string().as_str()), ("6", "--threads"));
}

#[test]
fn lists_come_from_variables_too() {
    let case = Case::new(&[("config.toml", "")]);
    let settings = case.load(&[("SLMD_UNIX_ALLOW_USERS", "ann, bob,")], &[]).expect("sound");
    assert_eq!(settings.allow_users.value, ["ann", "bob"]);
}

#[test]
fn what_is_wrong_is_shown_with_a_caret() {
    assert_eq!(
        refusal("[budget]\nmemory = \"512\"\n"),
        "config.toml:2:10: \"512\" has no unit: write it as \"512MiB\" or \"1.5GiB\"\n \
         2 | memory = \"512\"\n   |          ^^^^^"
    );
    assert_eq!(
        refusal("thread = 2\n"),
        "config.toml:1:1: unknown key `thread`\n 1 | thread = 2\n   | ^^^^^^\n   \
         = help: did you mean `threads`?"
    );
    assert!(refusal("threads = 0").contains("config.toml:1:11: 0 is out of range: 1 to 256"));
    assert!(refusal("threads = 'x'").contains("config.toml:1:11: invalid type"));
    assert!(refusal("engine = 'gpu'").contains("no engine \"gpu\": auto, ort or tract"));
    assert!(refusal("[budget]\nmemory = '1MiB'").contains("at least 16MiB"));
    assert!(refusal("[unix]\nallow-users = ['']").contains("an empty name"));
    assert!(refusal("model = ''").contains("an empty path"));
    assert!(refusal("threads = ").contains("config.toml:1:11:"));
    let later = refusal("[latency]\nttft-ms = 9\ndeadline-ms = 8\n");
    assert!(later.contains("config.toml:2:11:") && later.contains("config.toml:3)"), "{later}");
}

#[test]
fn wrong_variables_and_flags_are_named() {
    let case = Case::new(&[("config.toml", "")]);
    let error = case.load(&[("SLMD_THREADS", "many")], &[]).expect_err("no number");
    assert!(error.starts_with("SLMD_THREADS: invalid type"), "{error}");
    let error = case.load(&[], &[("budget.memory", "12")]).expect_err("no unit");
    assert!(error.starts_with("--memory: \"12\" has no unit"), "{error}");
    assert!(case.load(&[], &[("no.such", "1")]).is_err());
}

#[test]
fn an_absent_file_is_an_error_only_if_it_was_named() {
    let case = Case::new(&[]);
    assert!(case.load(&[], &[]).expect_err("absent").contains("config.toml: not found"));
}

#[test]
fn tasks_are_resolved_beside_their_file_and_replaced_whole() {
    let case = Case::new(&[
        (
            "config.toml",
            "[task.a]\nmax-tokens = 3\nsystem = 'S'\n[task.b]\noutput = { json-schema = 's.json' }\n",
        ),
        ("conf.d/1.toml", "[task.a]\nmax-tokens = 4\n"),
        ("s.json", "{}"),
    ]);
    let settings = case.load(&[], &[]).expect("sound");
    let names: Vec<&str> = settings.tasks.iter().map(|t| t.value.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        (settings.tasks[0].value.max_tokens, &settings.tasks[0].value.system),
        (Some(4), &None)
    );
    let wrong = refusal("threads = 1\n[task.a]\noutput = { json-schema = 'none.json' }\n");
    assert!(wrong.contains("task.a.output: ") && wrong.contains("none.json: not found"), "{wrong}");
    assert!(refusal("[task.a]\nmax-token = 3\n").contains("did you mean `max-tokens`?"));
    assert!(refusal("[task.'a b']\n").contains("a task's name"));
}

#[test]
fn systemd_decides_over_the_file_where_state_goes() {
    let case = Case::new(&[("config.toml", "state-dir = 'state'\n")]);
    let state = |variables: &[(&str, &str)], flags: &[(&str, &str)]| {
        case.load(variables, flags).expect("sound").state_dir.value
    };
    assert_eq!(state(&[], &[]), case.path("state"));
    assert_eq!(state(&[("STATE_DIRECTORY", "/s")], &[]), PathBuf::from("/s"));
    let both = [("STATE_DIRECTORY", "/s"), ("SLMD_STATE_DIR", "/v")];
    assert_eq!(state(&both, &[]), PathBuf::from("/v"));
    assert_eq!(state(&both, &[("state-dir", "/f")]), PathBuf::from("/f"));
}

#[test]
fn without_a_known_memory_it_must_be_set() {
    let environment = environment(&[]);
    let unknown = Defaults { memory_bytes: None, ..defaults() };
    let error = Config::default().settings(&environment, &unknown).expect_err("unset");
    assert_eq!(error.code(), "unset");
}

#[test]
fn the_boards_temperatures_hold_until_the_configuration_says_otherwise() {
    let thermal = ThermalDefaults {
        zones: vec!["cpu-thermal".into()],
        hot_c: Some(76),
        severe_c: Some(80),
        hysteresis_c: Some(4),
        ..ThermalDefaults::default()
    };
    let defaults = Defaults { thermal, ..defaults() };
    let settings = |text: &str| {
        let case = Case::new(&[("config.toml", text)]);
        let environment = environment(&[]);
        Config::load(Some(&case.path("config.toml")), &environment, &[])
            .and_then(|config| config.settings(&environment, &defaults))
            .map(|settings| settings.thermal)
            .map_err(|e| e.to_string())
    };
    let bounds = |s: &ThermalSettings| s.enter_c.each_ref().map(|bound| bound.value);
    let own = settings("").expect("sound");
    assert_eq!(bounds(&own), [None, Some(76), Some(80), None]);
    assert_eq!(
        (own.hysteresis_c.value, &own.zones.value[..]),
        (4, &["cpu-thermal".to_owned()][..])
    );
    assert_eq!(own.enter_c[1].origin, Origin::Board("test-board".into()));
    let text = "[thermal]\nzones = []\nwarm-c = 60\nsevere-c = 90\nhysteresis-c = 1\n";
    let other = settings(text).expect("sound");
    assert_eq!(bounds(&other), [Some(60), Some(76), Some(90), None]);
    assert_eq!((other.hysteresis_c.value, other.zones.value.len()), (1, 0));
    let wrong = settings("[thermal]\nwarm-c = 80\n").expect_err("refused");
    assert!(wrong.contains(":2:10: thermal.warm-c is 80"), "{wrong}");
    assert!(wrong.contains("thermal.hot-c must be more: it is 76 (board test-board)"), "{wrong}");
}

#[test]
fn quotas_of_peers_are_read_checked_and_shown() {
    let text = "[[unix.quota]]\nuser = 'ann'\nrequests-per-minute = 6\n\
                [[unix.quota]]\ngroup = '1000'\nmax-priority = 'background'\n\
                [[unix.quota]]\ntokens-per-minute = 900\n";
    let settings = Case::new(&[("config.toml", text)]).load(&[], &[]).expect("sound");
    let entries = settings.entries();
    let shown: Vec<&str> =
        entries.iter().filter(|e| e.key == "unix.quota").map(|e| e.value.as_str()).collect();
    assert_eq!(
        shown,
        [
            "user \"ann\" requests 6/min, tokens -/min, priority -",
            "group \"1000\" requests -/min, tokens -/min, priority background",
            "everybody else requests -/min, tokens 900/min, priority -",
        ]
    );
    for (keys, said) in [
        ("user = 'a'", "a quota that limits nothing"),
        ("user = 'a'\ngroup = 'b'\nrequests-per-minute = 1", "not both"),
        ("user = ''\nrequests-per-minute = 1", "an empty name"),
        ("topic = 'a'", "unknown key `topic`"),
    ] {
        let refused = refusal(&format!("[[unix.quota]]\n{keys}\n"));
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn cpus_are_the_boards_unless_somebody_says_otherwise() {
    let board = || Defaults {
        affinity: CpuList::parse("4-7").expect("a list"),
        kv: Some(KvType::Int8),
        ..defaults()
    };
    let load = |text: &str, defaults: &Defaults| {
        let case = Case::new(&[("config.toml", text)]);
        let environment = environment(&[]);
        let config = Config::load(Some(&case.path("config.toml")), &environment, &[]);
        config.and_then(|c| c.settings(&environment, defaults)).expect("sound")
    };
    let origin = || Origin::Board("test-board".into());
    let settings = load("", &board());
    assert_eq!(settings.affinity, Sourced::new(board().affinity, origin()));
    assert_eq!(settings.kv, Sourced::new(KvType::Int8, origin()));
    assert_eq!(settings.threads.value, 3, "the board's");
    let settings = load("", &defaults());
    assert_eq!(settings.affinity, Sourced::new(CpuList::default(), Origin::Default));
    assert_eq!(settings.kv, Sourced::new(KvType::Auto, Origin::Default));
    let settings = load("affinity = 'none'\n[budget]\nkv = 'f16'\n", &board());
    assert!(settings.affinity.value.is_empty());
    assert_eq!(settings.kv.value, KvType::F16);
    let shown = settings.entries().into_iter().find(|e| e.key == "affinity").expect("listed");
    assert_eq!(shown.value, "\"none\"");
    assert_eq!(load("affinity = '0,2-3'", &board()).affinity.value.to_string(), "0,2-3");
    assert_eq!(load("affinity = '1'", &board()).threads.value, 1, "not three on one CPU");
    assert_eq!(load("affinity = '1'\nthreads = 2", &board()).threads.value, 2, "as asked for");
    let refused = refusal("affinity = 'fast'");
    assert!(refused.contains("config.toml:1:12: \"fast\" is no list of CPUs"), "{refused}");
    assert!(refused.contains("or \"none\""), "{refused}");
}
