//! The store as a whole: what is taken, what is refused, and what is there after whatever ended a
//! command.

use super::fault::{Fault, FaultDisk};
use super::*;
use crate::bundle::files::hex;
use crate::bundle::signature::Key;
use crate::bundle::{Bundle, tiny_graph};
use sha2::{Digest, Sha256};
use std::io::Cursor;
use std::os::unix::fs::{PermissionsExt, symlink};

const CONFIG: &[u8] = br#"{"max_position_embeddings": 16, "vocab_size": 5, "eos_token_id": 4}"#;

/// A bundle that opens; of each version another one.
struct Maker {
    dir: tempfile::TempDir,
}

impl Maker {
    fn new(version: &str, counter: Option<u64>) -> Self {
        let maker = Self { dir: tempfile::tempdir().unwrap() };
        maker.write("config.json", CONFIG);
        maker.write("model.onnx", &tiny_graph());
        maker.write("tokenizer.json", b"{}");
        maker.write("notes/about.txt", format!("version {version}").as_bytes());
        let counter = counter.map_or(String::new(), |n| format!("counter = {n}\n"));
        maker.seal(&format!("name = 'pump'\nversion = '{version}'\n{counter}"));
        maker
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn seal(&self, head: &str) {
        let names = ["config.json", "model.onnx", "tokenizer.json", "notes/about.txt"];
        let lines = names.map(|name| {
            let bytes = std::fs::read(self.path().join(name)).unwrap();
            format!("'{name}' = '{}'\n", hex(&Sha256::digest(bytes)))
        });
        let text = format!("format = 1\n{head}[files]\n{}", lines.concat());
        self.write("slmd.toml", text.as_bytes());
    }

    fn sign(&self, pair: &minisign::KeyPair) {
        let manifest = std::fs::read(self.path().join("slmd.toml")).unwrap();
        let manifest = Cursor::new(manifest);
        let signed = minisign::sign(Some(&pair.pk), &pair.sk, manifest, Some("of the shop"), None);
        self.write("slmd.toml.minisig", signed.unwrap().to_string().as_bytes());
    }
}

fn lax() -> Policy {
    Policy {
        keys: Vec::new(),
        require_signature: false,
        max_bytes: 1 << 20,
        allow_downgrade: false,
    }
}

fn pair() -> (minisign::KeyPair, Key) {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let key = Key::parse(&pair.pk.to_base64()).unwrap();
    (pair, key)
}

/// A store with version 1 active.
struct Case {
    dir: tempfile::TempDir,
    disk: FaultDisk,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultDisk::new(dir.path());
        Self { dir, disk }
    }

    fn with_active(version: &str, counter: Option<u64>) -> Self {
        let case = Self::new();
        case.install_and_activate(&Maker::new(version, counter)).unwrap();
        case
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("models")
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.root(), Box::new(self.disk.clone()))
    }

    fn install(&self, maker: &Maker, policy: &Policy) -> Result<Placed, StoreError> {
        self.open()?.install(maker.path(), policy, &|_| ())
    }

    /// What `slmd model install --activate` does, without the trial.
    fn install_and_activate(&self, maker: &Maker) -> Result<(), StoreError> {
        let mut store = self.open()?;
        let placed = store.install(maker.path(), &lax(), &|_| ())?;
        store.check(placed.slot, &lax(), false, &|_| ())?;
        store.activate(placed.slot)
    }

    fn roll_back(&self) -> Result<(), StoreError> {
        let mut store = self.open()?;
        let slot = store.previous()?;
        store.check(slot, &lax(), true, &|_| ())?;
        store.activate(slot)
    }

    fn active_version(&self) -> Option<String> {
        active_version(&self.root())
    }
}

/// The version behind `current`, which must be whole; none: there is no `current`.
fn active_version(root: &Path) -> Option<String> {
    let current = root.join(CURRENT);
    current.symlink_metadata().ok()?;
    let bundle = Bundle::open(&current, None).expect("a whole model");
    assert!(bundle.verified);
    let folder = current.canonicalize().unwrap();
    check::inspect(&folder, &lax(), &|_| ()).expect("every file is listed");
    bundle.version
}

#[test]
fn a_model_is_installed_activated_and_rolled_back() {
    let case = Case::new();
    assert_eq!(look(&case.root()).unwrap().state, State::default(), "looking makes nothing");
    assert!(!case.root().exists());
    let placed = case.install(&Maker::new("1", None), &lax()).unwrap();
    assert_eq!(placed, Placed { slot: Slot::A, is_new: true });
    assert_eq!(case.active_version(), None, "installed is not active");
    case.open().unwrap().activate(Slot::A).unwrap();
    assert_eq!(case.active_version().as_deref(), Some("1"));
    assert!(matches!(case.open().unwrap().previous(), Err(StoreError::NoPrevious)));

    case.install_and_activate(&Maker::new("2", None)).unwrap();
    assert_eq!(case.active_version().as_deref(), Some("2"));
    case.roll_back().unwrap();
    assert_eq!(case.active_version().as_deref(), Some("1"));
    case.roll_back().unwrap();
    assert_eq!(case.active_version().as_deref(), Some("2"), "and forth again");

    // The third takes the place of the one that is not active.
    case.install_and_activate(&Maker::new("3", None)).unwrap();
    let overview = look(&case.root()).unwrap();
    let versions: Vec<_> = overview.state.installed().map(|(_, i)| i.version.as_str()).collect();
    assert_eq!(versions, ["3", "2"]);
    assert_eq!((overview.active(), overview.state.previous), (Some(Slot::A), Some(Slot::B)));
    assert_eq!(std::fs::read_dir(case.root().join(CONTENT)).unwrap().count(), 2);
}

#[test]
fn names_and_slots_mean_models() {
    let case = Case::with_active("1", None);
    case.install(&Maker::new("2", None), &lax()).unwrap();
    let overview = look(&case.root()).unwrap();
    assert_eq!(overview.find("b").unwrap(), Slot::B);
    assert_eq!(overview.find("pump 1").unwrap(), Slot::A);
    assert_eq!(overview.find("pump").unwrap_err().code(), "ambiguous");
    let error = overview.find("valve").unwrap_err();
    assert!(error.to_string().contains("a (pump 1), b (pump 2)"), "{error}");
    let mut store = case.open().unwrap();
    assert_eq!(store.remove(Slot::A).unwrap_err().code(), "is_active");
    store.remove(Slot::B).unwrap();
    assert_eq!(store.remove(Slot::B).unwrap_err().code(), "unknown");
    assert_eq!(std::fs::read_dir(case.root().join(CONTENT)).unwrap().count(), 1);
}

#[test]
fn modes_are_what_the_daemon_needs_whatever_they_were() {
    let (case, maker) = (Case::new(), Maker::new("1", None));
    let config = maker.path().join("config.json");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o4600)).unwrap();
    case.install_and_activate(&maker).unwrap();
    let mode = |name: &str| {
        let path = case.root().join(CURRENT).join(name);
        path.metadata().unwrap().permissions().mode() & 0o7777
    };
    assert_eq!(
        (mode("config.json"), mode("notes/about.txt"), mode("notes")),
        (0o644, 0o644, 0o755)
    );
}

#[test]
fn the_same_model_is_not_installed_twice_unless_it_is_damaged() {
    let (case, maker) = (Case::with_active("1", None), Maker::new("1", None));
    let again = case.install(&maker, &lax()).unwrap();
    assert_eq!(again, Placed { slot: Slot::A, is_new: false });
    let damaged = case.root().join(CURRENT).join("tokenizer.json");
    std::fs::write(&damaged, b"[]").unwrap();
    let overview = look(&case.root()).unwrap();
    let installed = overview.state.slot(Slot::A).unwrap();
    let error = verify(&case.root(), installed, &lax(), &|_| ()).unwrap_err();
    assert_eq!(error.code(), "hash");
    let repaired = case.install(&maker, &lax()).unwrap();
    assert_eq!(repaired, Placed { slot: Slot::B, is_new: true });
    case.open().unwrap().activate(Slot::B).unwrap();
    assert_eq!(case.active_version().as_deref(), Some("1"));
}

#[test]
fn a_lower_counter_is_refused_but_by_root_or_on_the_way_back() {
    let case = Case::with_active("1", Some(4));
    case.install_and_activate(&Maker::new("2", Some(6))).unwrap();
    for counter in [None, Some(5)] {
        let error = case.install(&Maker::new("3", counter), &lax()).unwrap_err();
        assert_eq!(error.code(), "downgrade");
        let refusal = look(&case.root()).unwrap().state.last_refusal.unwrap();
        assert!(
            refusal.code == "downgrade" && refusal.message.contains("counter 6"),
            "{refusal:?}"
        );
    }
    case.roll_back().unwrap();
    assert_eq!(case.active_version().as_deref(), Some("1"), "the previous one may come back");
    assert_eq!(look(&case.root()).unwrap().state.highest_counter, 6);
    let policy = Policy { allow_downgrade: true, ..lax() };
    let slot = case.install(&Maker::new("3", Some(5)), &policy).unwrap().slot;
    let mut store = case.open().unwrap();
    assert_eq!(store.check(slot, &lax(), false, &|_| ()).unwrap_err().code(), "downgrade");
    store.check(slot, &policy, false, &|_| ()).unwrap();
    store.activate(slot).unwrap();
    assert_eq!(look(&case.root()).unwrap().state.highest_counter, 6, "it is not forgotten");
}

#[test]
fn signatures_are_held_against_the_keys() {
    let (own, foreign) = (pair(), pair());
    let ((pair, key), (other, later)) = (own, foreign);
    let strict = Policy { keys: vec![key.clone()], require_signature: true, ..lax() };
    let lenient = Policy { require_signature: false, ..strict.clone() };
    let case = Case::new();
    let maker = Maker::new("1", None);
    assert_eq!(case.install(&maker, &strict).unwrap_err().code(), "unsigned");
    maker.sign(&other);
    assert_eq!(case.install(&maker, &strict).unwrap_err().code(), "unknown_key");
    assert_eq!(case.install(&maker, &lenient).unwrap_err().code(), "unknown_key");
    maker.sign(&pair);
    case.install(&maker, &strict).unwrap();
    let installed = look(&case.root()).unwrap().state.slot(Slot::A).unwrap().clone();
    let signed_by = SignedBy { key_id: key.id().into(), comment: "of the shop".into() };
    assert_eq!(installed.signed_by, Some(signed_by));

    // Changed and sealed anew after it was signed.
    maker.write("notes/about.txt", b"something else");
    maker.seal("name = 'pump'\nversion = '1'\n");
    assert_eq!(case.install(&maker, &strict).unwrap_err().code(), "bad_signature");
    assert_eq!(case.install(&Maker::new("2", None), &lenient).unwrap().slot, Slot::B);
    // A key that was withdrawn says no more, also of what is installed already.
    let rotated = Policy { keys: vec![later], ..strict };
    let store = case.open().unwrap();
    assert_eq!(store.check(Slot::A, &rotated, false, &|_| ()).unwrap_err().code(), "unknown_key");
}

#[test]
fn what_is_not_a_whole_bundle_is_refused() {
    let refused = |spoil: &dyn Fn(&Maker)| {
        let (case, maker) = (Case::with_active("1", None), Maker::new("2", None));
        spoil(&maker);
        let error = case.install(&maker, &lax()).unwrap_err();
        assert_eq!(case.active_version().as_deref(), Some("1"));
        assert_eq!(std::fs::read_dir(case.root().join(STAGING)).unwrap().count(), 0);
        error.code()
    };
    let remove = |maker: &Maker, name: &str| std::fs::remove_file(maker.path().join(name)).unwrap();
    assert_eq!(refused(&|m| m.write("extra.bin", b"x")), "unlisted");
    assert_eq!(refused(&|m| m.write("SLMD.toml", b"x")), "archive_name");
    assert_eq!(refused(&|m| m.write("model.onnx", b"x")), "hash");
    assert_eq!(refused(&|m| remove(m, "notes/about.txt")), "missing");
    assert_eq!(refused(&|m| remove(m, "slmd.toml")), "no_manifest");
    assert_eq!(refused(&|m| m.write("slmd.toml", b"format = 1")), "syntax");
    assert_eq!(refused(&|m| m.seal("name = 'x'\nversion = '1'\ncounter = -1\n")), "syntax");
    assert_eq!(
        refused(&|m| symlink("/etc/passwd", m.path().join("notes/link")).unwrap()),
        "archive_entry"
    );
    assert_eq!(
        refused(&|m| {
            remove(m, "tokenizer.json");
            symlink("config.json", m.path().join("tokenizer.json")).unwrap();
        }),
        "archive_entry"
    );
    assert_eq!(
        refused(&|m| {
            let path = m.path().join("pipe");
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        "archive_entry"
    );
    assert_eq!(refused(&|m| m.write("notes/big", &[0; 1 << 20])), "archive_too_large");
    // All is listed, but it is no model.
    assert_eq!(
        refused(&|m| {
            m.write("model.onnx", b"not a graph");
            m.seal("name = 'x'\nversion = '1'\n");
        }),
        "graph"
    );
    let case = Case::new();
    let none = case.open().unwrap().install(Path::new("/no/such/model"), &lax(), &|_| ());
    assert_eq!(none.unwrap_err().code(), "no_source");
    assert_eq!(look(&case.root()).unwrap().state.last_refusal, None, "no fault of a model");
}

/// The bundle as an archive, in a folder of its name if there is a prefix.
fn archive(maker: &Maker, prefix: &str, is_gzip: bool) -> tempfile::NamedTempFile {
    let mut bytes = Vec::new();
    for name in ["slmd.toml", "config.json", "model.onnx", "tokenizer.json", "notes/about.txt"] {
        let data = std::fs::read(maker.path().join(name)).unwrap();
        archive::tests::append(&mut bytes, &format!("{prefix}{name}"), b'0', &data);
    }
    archive::tests::end(&mut bytes);
    let bytes = if is_gzip { archive::tests::gzip(&bytes) } else { bytes };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn archives_hold_the_same_as_folders() {
    for (prefix, is_gzip) in [("", false), ("./", true), ("pump-2/", true)] {
        let (case, maker) = (Case::with_active("1", None), Maker::new("2", None));
        let file = archive(&maker, prefix, is_gzip);
        let mut store = case.open().unwrap();
        let slot = store.install(file.path(), &lax(), &|_| ()).unwrap().slot;
        store.check(slot, &lax(), false, &|_| ()).unwrap();
        store.activate(slot).unwrap();
        drop(store);
        assert_eq!(case.active_version().as_deref(), Some("2"), "{prefix}");
        assert_eq!(std::fs::read_dir(case.root().join(STAGING)).unwrap().count(), 0);
        // The same, from the folder it was made of.
        assert!(!case.install(&maker, &lax()).unwrap().is_new);
        // Cut anywhere it is none.
        let whole = std::fs::read(file.path()).unwrap();
        for part in [1, 3, 7] {
            std::fs::write(file.path(), &whole[..whole.len() * part / 16]).unwrap();
            let error = case.open().unwrap().install(file.path(), &lax(), &|_| ()).unwrap_err();
            assert_eq!(error.code(), "archive_damaged", "{part}/16: {error}");
        }
    }
}

#[test]
fn two_commands_do_not_meet() {
    let case = Case::new();
    let store = case.open().unwrap();
    assert_eq!(case.open().err().unwrap().code(), "in_use");
    drop(store);
    case.open().unwrap();
}

#[test]
fn what_is_in_the_place_of_current_is_not_overwritten() {
    let case = Case::new();
    case.install(&Maker::new("1", None), &lax()).unwrap();
    std::fs::create_dir(case.root().join(CURRENT)).unwrap();
    let error = case.open().unwrap().activate(Slot::A).unwrap_err();
    assert_eq!(error.code(), "foreign_current");
    std::fs::remove_dir(case.root().join(CURRENT)).unwrap();
    // A link that somebody made by hand is what the activation replaces.
    symlink("/opt/model", case.root().join(CURRENT)).unwrap();
    assert!(matches!(look(&case.root()).unwrap().current, Current::Foreign(_)));
}

#[test]
fn room_is_asked_for_before_anything_is_written() {
    let case = Case::with_active("1", None);
    case.disk.set_free(Some(16 << 20));
    let error = case.install(&Maker::new("2", None), &lax()).unwrap_err();
    assert_eq!(error.code(), "no_room");
    assert!(error.to_string().contains("slmd model remove"), "{error}");
    case.disk.set_free(None);
    case.install_and_activate(&Maker::new("2", None)).unwrap();
}

/// A command that is disturbed at each of its operations; what there must be afterwards.
fn at_each_operation(
    prepare: &dyn Fn() -> Case,
    fault: fn(u64) -> Fault,
    command: &dyn Fn(&Case) -> Result<(), StoreError>,
    check: &dyn Fn(&Case, u64, bool),
) -> u64 {
    let mut at = 1;
    loop {
        let case = prepare();
        case.disk.set(fault(at));
        let is_done = command(&case).is_ok();
        let was_disturbed = case.disk.operations() >= at;
        if let Fault::Killed(_) = fault(at) {
            // Before anything is put in order: what the daemon would start with now.
            case.active_version();
        }
        check(&case, at, is_done);
        if !was_disturbed {
            return at;
        }
        at += 1;
    }
}

fn next_command_works(case: &Case, at: u64) {
    case.disk.set(Fault::None);
    let next = Maker::new("9", None);
    case.install_and_activate(&next).unwrap_or_else(|e| panic!("after {at}: {e}"));
    assert_eq!(case.active_version().as_deref(), Some("9"), "after {at}");
    case.roll_back().unwrap_or_else(|e| panic!("after {at}: {e}"));
    let content = std::fs::read_dir(case.root().join(CONTENT)).unwrap().count();
    assert_eq!(content, 2, "after {at}");
    assert_eq!(std::fs::read_dir(case.root().join(STAGING)).unwrap().count(), 0);
}

fn two_versions() -> Case {
    let case = Case::with_active("1", None);
    case.install_and_activate(&Maker::new("2", None)).unwrap();
    case
}

#[test]
fn killed_at_any_operation_of_an_update_a_whole_model_is_active() {
    let update = Maker::new("3", None);
    let points = at_each_operation(
        &two_versions,
        Fault::Killed,
        &|case| case.install_and_activate(&update),
        &|case, at, is_done| {
            let version = case.active_version().unwrap_or_else(|| panic!("none after {at}"));
            assert!(version == "3" || (version == "2" && !is_done), "{version} after {at}");
            // Whoever looks does not mind either.
            assert!(look(&case.root()).unwrap().active().is_some(), "after {at}");
            next_command_works(case, at);
        },
    );
    assert!(points > 40, "{points}");
}

#[test]
fn killed_at_any_operation_of_the_first_install_none_or_a_whole_model_is_active() {
    let first = Maker::new("1", None);
    at_each_operation(
        &Case::new,
        Fault::Killed,
        &|case| case.install_and_activate(&first),
        &|case, at, is_done| {
            assert!(case.active_version().is_some() || !is_done, "{at}");
            case.disk.set(Fault::None);
            case.install_and_activate(&first).unwrap_or_else(|e| panic!("after {at}: {e}"));
            assert_eq!(case.active_version().as_deref(), Some("1"), "after {at}");
        },
    );
}

#[test]
fn killed_at_any_operation_of_a_rollback_or_a_removal_the_next_command_works() {
    let roll_back = |case: &Case| case.roll_back();
    at_each_operation(&two_versions, Fault::Killed, &roll_back, &|case, at, is_done| {
        let version = case.active_version().unwrap_or_else(|| panic!("none after {at}"));
        assert!(version == "1" || (version == "2" && !is_done), "{version} after {at}");
        next_command_works(case, at);
    });
    let remove = |case: &Case| case.open()?.remove(Slot::A).map(drop);
    at_each_operation(&two_versions, Fault::Killed, &remove, &|case, at, _| {
        assert_eq!(case.active_version().as_deref(), Some("2"), "after {at}");
        next_command_works(case, at);
    });
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let to = to.join(entry.file_name());
        match (kind.is_dir(), kind.is_symlink()) {
            (true, _) => copy_tree(&path, &to),
            (_, true) => symlink(std::fs::read_link(path).unwrap(), to).unwrap(),
            _ => drop(std::fs::copy(path, to).unwrap()),
        }
    }
}

#[test]
fn killed_again_while_it_puts_things_in_order_it_does_so_the_next_time() {
    let update = Maker::new("3", None);
    at_each_operation(
        &two_versions,
        Fault::Killed,
        &|case| case.install_and_activate(&update),
        &|case, at, _| {
            for again in 1.. {
                let dir = tempfile::tempdir().unwrap();
                let root = dir.path().join("models");
                copy_tree(&case.root(), &root);
                let before = active_version(&root);
                let disk = FaultDisk::new(dir.path());
                disk.set(Fault::Killed(again));
                let opened = Store::open(&root, Box::new(disk.clone()));
                let was_disturbed = disk.operations() >= again;
                assert_eq!(opened.is_err(), was_disturbed, "{at}, {again}");
                drop(opened);
                assert_eq!(active_version(&root), before, "{at}, {again}");
                disk.set(Fault::None);
                let store = Store::open(&root, Box::new(disk)).expect("it opens");
                assert_eq!(active_version(&root), before, "{at}, {again}");
                let active = store.overview().unwrap().active().expect("known");
                let version = store.state.slot(active).map(|i| i.version.clone());
                assert_eq!(version, before, "{at}, {again}");
                let known = store.state.installed().count();
                assert_eq!(std::fs::read_dir(root.join(CONTENT)).unwrap().count(), known);
                assert_eq!(std::fs::read_dir(root.join(STAGING)).unwrap().count(), 0);
                if !was_disturbed {
                    break;
                }
            }
        },
    );
}

#[test]
fn on_a_full_or_failing_disk_the_active_model_stays_and_the_next_command_works() {
    let update = Maker::new("3", None);
    for fault in [Fault::Full as fn(u64) -> Fault, Fault::Broken] {
        at_each_operation(
            &two_versions,
            fault,
            &|case| case.install_and_activate(&update),
            &|case, at, is_done| {
                let version = case.active_version().unwrap_or_else(|| panic!("none after {at}"));
                assert!(version == "3" || (version == "2" && !is_done), "{version} after {at}");
                next_command_works(case, at);
            },
        );
    }
    let case = two_versions();
    case.disk.set(Fault::Full(20));
    let error = case.install_and_activate(&update).unwrap_err();
    assert_eq!(error.code(), "no_room", "{error}");
    // What was begun is taken away at once: the disk is full enough.
    assert_eq!(std::fs::read_dir(case.root().join(STAGING)).unwrap().count(), 0);
}

/// Xorshift64 (Marsaglia 2003).
fn random() -> impl FnMut() -> u64 {
    let mut seed = 7u64;
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed >> 20
    }
}

#[test]
fn a_disk_that_lies_about_syncing_loses_models() {
    // Otherwise the next test could not find what is not synced.
    let case = two_versions();
    case.disk.lie();
    case.install_and_activate(&Maker::new("3", None)).unwrap();
    let mut random = random();
    let losses = (0..40).filter(|_| {
        let dir = tempfile::tempdir().unwrap();
        case.disk.after_power_loss(&dir.path().join("disk"), &mut random);
        Bundle::open(dir.path().join("disk/models").join(CURRENT), None).is_err()
    });
    assert!(losses.count() > 5);
}

#[test]
fn after_a_power_loss_at_any_operation_a_whole_model_is_active() {
    let update = Maker::new("3", None);
    let random = std::cell::RefCell::new(random());
    at_each_operation(
        &two_versions,
        Fault::Killed,
        &|case| case.install_and_activate(&update),
        &|case, at, is_done| {
            for loss in 0..4 {
                let dir = tempfile::tempdir().unwrap();
                let root = dir.path().join("disk");
                case.disk.after_power_loss(&root, &mut *random.borrow_mut());
                let root = root.join("models");
                let version = active_version(&root).unwrap_or_else(|| panic!("none, {at}, {loss}"));
                assert!(version == "3" || (version == "2" && !is_done), "{version}, {at}, {loss}");
                let disk = FaultDisk::new(dir.path());
                let mut store = Store::open(&root, Box::new(disk)).expect("it opens");
                assert_eq!(store.notes(), [""; 0], "the state was whole, {at}, {loss}");
                let next = Maker::new("9", None);
                let slot = store.install(next.path(), &lax(), &|_| ()).expect("it installs").slot;
                store.activate(slot).expect("it activates");
                assert_eq!(active_version(&root).as_deref(), Some("9"), "{at}, {loss}");
            }
        },
    );
}

#[test]
fn a_damaged_or_missing_state_is_made_anew() {
    let spoilt: [&dyn Fn(&Path); 4] = [
        &|path| std::fs::write(path, b"").unwrap(),
        &|path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        &|path| std::fs::write(path, [0; 4096]).unwrap(),
        &|path| std::fs::remove_file(path).unwrap(),
    ];
    for (n, spoil) in spoilt.iter().enumerate() {
        let case = Case::with_active("1", Some(3));
        case.install_and_activate(&Maker::new("2", Some(5))).unwrap();
        spoil(&case.root().join(state::STATE));
        assert!(!look(&case.root()).unwrap().is_state_whole, "{n}");
        let store = case.open().unwrap();
        assert_eq!(store.notes().len(), 1, "{n}");
        let overview = store.overview().unwrap();
        assert_eq!(overview.state.highest_counter, 5, "{n}");
        let active = overview.state.slot(overview.active().unwrap()).unwrap();
        assert_eq!((active.version.as_str(), active.counter), ("2", 5));
        drop(store);
        assert!(case.open().unwrap().notes().is_empty(), "it is whole now");
        assert_eq!(
            case.install(&Maker::new("3", Some(4)), &lax()).unwrap_err().code(),
            "downgrade"
        );
        case.roll_back().unwrap();
        assert_eq!(case.active_version().as_deref(), Some("1"), "{n}");
    }
    // Damaged contents are not made a model of, but the active one is not taken away either.
    let case = two_versions();
    std::fs::write(case.root().join(CURRENT).join("tokenizer.json"), b"[]").unwrap();
    std::fs::write(case.root().join(state::STATE), b"").unwrap();
    let store = case.open().unwrap();
    assert_eq!(store.overview().unwrap().active(), None);
    assert!(case.root().join(CURRENT).exists());
    drop(store);
    next_command_works(&case, 0);
}
