"""slmd.toml: what is written can be read, and damage is seen."""

import dataclasses
import tomllib

import pytest

from slmd_model import bundle, cli
from slmd_model.bundle import Golden, Manifest, Task
from slmd_model.errors import UserError

BY_HAND = """\
# ours
format = 1
name = 'pump'
version = "7"  # of the shop
counter = 3 # see the list

[task.note]
template = '''
[files]
"a" = "not this one"
counter = 1
{{ prompt }}'''
output = { regex = '[^\\n]{1,200}\\.' }
stop = ["x"]
repetition-penalty = 1.1
escalate = { reply = true }

[files]   # renewed by seal
# the graph
'model.onnx' = 'OLD'
"gone" = "OLD"   # once
"b.json" = "OLD" # of the task

# by hand
[task.plain]

[[golden]]
prompt = "p"
tokens = [
  1,
]
text = "x"
"""


def manifest() -> Manifest:
    return Manifest(
        "name", "0.1.0", "MIT", "t", {"t": Task("sys", "t.schema.json")},
        [Golden('say "hi"\n\\ é 🙂\x7f', [1, 2], "text", "t"), Golden("", [3], "x")],
    )  # fmt: skip


def test_round_trip(tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"graph")
    bundle.write(tmp_path, manifest())
    assert bundle.read(tmp_path) == manifest()
    assert list(tomllib.loads((tmp_path / "slmd.toml").read_text())["files"]) == ["onnx/model.onnx"]
    assert bundle.verify(tmp_path) == []


def test_counter_and_latency_are_kept(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    full = dataclasses.replace(manifest(), counter=7, latency={"max-decode-ms": 40})
    bundle.write(tmp_path, full)
    assert bundle.read(tmp_path) == full
    content = tomllib.loads((tmp_path / "slmd.toml").read_text())
    assert (content["counter"], content["latency"]) == (7, {"max-decode-ms": 40})


def test_sealing_sets_the_counter_and_takes_the_old_signature_away(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    bundle.write(tmp_path, manifest())
    (tmp_path / bundle.SIGNATURE).write_text("of the old text")
    assert cli.main(["seal", str(tmp_path), "--counter", "3"]) == 0
    assert bundle.read(tmp_path).counter == 3
    assert not (tmp_path / bundle.SIGNATURE).exists()
    (tmp_path / bundle.SIGNATURE).write_text("beside it, not listed")
    bundle.write(tmp_path, bundle.read(tmp_path))
    assert list(tomllib.loads((tmp_path / "slmd.toml").read_text())["files"]) == ["a"]


def test_damage_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    bundle.write(tmp_path, manifest())
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").unlink()
    assert bundle.verify(tmp_path) == ["b: missing", "a: SHA-256 differs"]


@pytest.fixture
def by_hand(tmp_path):
    for name in ("model.onnx", "b.json", "c.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / bundle.MANIFEST).write_bytes(BY_HAND.encode())
    return tmp_path


def test_sealing_keeps_what_is_written_by_hand(by_hand):
    model, b, c = (bundle.sha256(by_hand / name) for name in ("model.onnx", "b.json", "c.json"))
    want = BY_HAND.replace("'OLD'", f'"{model}"').replace('"gone" = "OLD"   # once\n', "")
    want = want.replace('"OLD" # of the task\n\n# by hand\n', f'"{b}" # of the task\n\n# by hand\n"c.json" = "{c}"\n')
    assert cli.main(["seal", str(by_hand)]) == 0
    assert (by_hand / bundle.MANIFEST).read_text() == want
    assert bundle.verify(by_hand) == []
    bundle.seal(by_hand, counter=9)
    assert (by_hand / bundle.MANIFEST).read_text() == want.replace("counter = 3 #", "counter = 9 #")


def test_sealing_keeps_line_ends_and_adds_what_is_not_there(by_hand):
    file = by_hand / bundle.MANIFEST
    head = b"format = 1\r\nname = 'pump'\r\nversion = '7'\r\n"
    file.write_bytes(head + b"[task.plain]")
    bundle.seal(by_hand, kv="int8")
    text = file.read_bytes()
    assert text.startswith(head + b'kv = "int8"\r\n')
    assert text.count(b"\n") == text.count(b"\r\n")
    assert bundle.verify(by_hand) == []
    bundle.seal(by_hand, kv="int8")
    assert file.read_bytes() == text


@pytest.mark.parametrize("files", ["files = { a = 'OLD' }", "[files]\nmodel.onnx = 'OLD'", "files.a = 'OLD'"])
def test_files_in_another_form_are_renewed_too(by_hand, files):
    file = by_hand / bundle.MANIFEST
    file.write_text(f"format = 1\nname = 'n'\nversion = '1'\n{files}\n")
    bundle.seal(by_hand)
    assert bundle.verify(by_hand) == []


def test_keys_that_are_left_out_have_no_value(by_hand):
    found = bundle.read(by_hand)
    assert (found.license, found.counter, found.tasks["plain"]) == (None, 3, Task(None, None, None, None, None))
    assert found.tasks["note"].schema is None
    again = tomllib.loads(bundle.render(dataclasses.replace(found, tasks={"plain": found.tasks["plain"]}), {}))
    assert again == {
        "format": 1, "name": "pump", "version": "7", "counter": 3, "files": {}, "task": {"plain": {}},
        "golden": [{"prompt": "p", "tokens": [1], "text": "x"}],
    }  # fmt: skip


@pytest.mark.parametrize("command", [["seal"], ["verify"]])
def test_what_is_no_bundle_is_told_in_one_line(tmp_path, capsys, command):
    assert cli.main([*command, str(tmp_path)]) == 66
    assert "slmd-model export" in capsys.readouterr().err
    (tmp_path / bundle.MANIFEST).write_text("format 1")
    assert cli.main([*command, str(tmp_path)]) == 65
    (tmp_path / bundle.MANIFEST).write_text("format = 1\nname = 'n'\n")
    with pytest.raises(UserError, match="`version`"):
        bundle.read(tmp_path)
    assert "lists no files" in bundle.verify(tmp_path)[0]


def test_tasks_go_into_a_manifest_as_they_are_written(tmp_path):
    table = '# of pumps\n[task.pump]\nsystem = "pump"\noutput = { json-schema = "pump.schema.json" }\nstop = ["x"]\n'
    file, schema = tmp_path / "tasks.toml", tmp_path / "pump.schema.json"
    file.write_text(table)
    with pytest.raises(UserError, match="beside it"):
        bundle.read_tasks(file)
    schema.write_text("{}")
    text, tasks, files = bundle.read_tasks(file)
    assert files == (schema,)
    assert tasks == {"pump": Task("pump", schema.name, None, None, None)}
    written = bundle.render(Manifest("n", "1", tasks=tasks, tasks_text=text), {"a": "0"})
    assert f"\n\n{table}" in written
    assert "license" not in written
    for wrong in (
        f'default-task = "pump"\n{table}',
        'task.pump.system = "pump"\n',
        "task = 3\n",
        "[task]\na = 3\n",
        "",
    ):
        file.write_text(wrong)
        with pytest.raises(UserError, match="nothing else"):
            bundle.read_tasks(file)


@pytest.mark.parametrize(("command", "says"), [("seal", "signature"), ("verify", "SHA-256")])
def test_help_describes(capsys, command, says):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert says in capsys.readouterr().out
