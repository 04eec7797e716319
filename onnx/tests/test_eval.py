"""`eval` against a socket that answers like the daemon."""

import json
import socket
import threading

import pytest

pytest.importorskip("jsonschema", reason="jsonschema is not installed (onnx/setup-python)")

from slmd_model import bundle, cli
from slmd_model.bundle import Manifest, Task
from slmd_model.calibrate import Bound, rewrite
from slmd_model.errors import UserError
from slmd_model.scores import Answer

SCHEMA = {"type": "object", "properties": {"intent": {"enum": ["on", "off"]}}, "required": ["intent"]}


def reply(prompt: str) -> dict:
    intent = "off" if "off" in prompt else "on" if "on" in prompt else "maybe"
    text = json.dumps({"intent": intent}, separators=(",", ":"))
    sure = 0.3 if "?" in prompt else 0.8
    return {
        "status": "ok", "text": text, "confidence": sure, "abstained": sure < 0.4, "usage": {"completion_tokens": 3},
        "timings": {"ttft_ms": 1.0, "total_ms": 2.0},
    }  # fmt: skip


@pytest.fixture
def daemon(tmp_path):
    """The path of a socket that answers."""
    path = tmp_path / "s"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def answer():
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                connection.sendall(b'{"id":null,"delta":"x"}\n')
                connection.sendall(json.dumps(reply(json.loads(line)["prompt"])).encode() + b"\n")

    threading.Thread(target=answer, daemon=True).start()
    yield path
    server.close()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "intent.schema.json").write_text(json.dumps(SCHEMA))
    bundle.write(folder, Manifest("x", "1", "MIT", tasks={"intent": Task("intent", "intent.schema.json")}))
    return folder


def test_figures_of_a_run(daemon, folder, tmp_path, capsys):
    lines = [("turn on", "on"), ("turn off", "off"), ("on?", "off"), ("what", "on")]
    path = tmp_path / "lines.jsonl"
    path.write_text(
        "".join(json.dumps({"task": "intent", "text": t, "answer": {"intent": i}}) + "\n" for t, i in lines)
    )
    out, wrong = tmp_path / "figures.json", tmp_path / "wrong.jsonl"
    arguments = ["eval", str(folder), str(path), "--socket", str(daemon), "--json", str(out), "--wrong", str(wrong)]
    assert cli.main([*arguments, "--plot", str(tmp_path / "r.png")]) == 0
    found = json.loads(out.read_text())["sources"]["lines"]
    assert found["exact"][0] == found["label_accuracy"][0] == 0.5
    assert found["valid"] == 0.75
    assert found["ece"] == pytest.approx((3 * (0.8 - 2 / 3) + 0.3) / 4, abs=1e-3)
    assert found["false_declined"][0] == 0.25
    assert found["wrong_and_sure"][0] == 0.25
    assert len(wrong.read_text().splitlines()) == 2
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_a_bound_declines_no_more_than_it_may():
    def answers(*sure):
        return [Answer({"intent": "on"}, {"intent": "on"}, True, c) for c in sure]

    some = answers(*(i / 100 for i in range(100)))
    chosen = Bound("declined", 0.05).choose(some)
    assert sum(a.confidence < chosen for a in some) <= 5 < sum(a.confidence < chosen + 0.01 for a in some)
    assert Bound("declined", 0.001).choose([*some, *answers(0.0)] * 2) is None
    refusal = [Answer({"out_of_scope": True}, {"intent": "on"}, True, 0.0)]
    assert Bound("declined", 0.05).choose(some + refusal * 50) == chosen


def test_a_bound_leaves_no_more_wrong_than_it_may():
    some = [Answer({"intent": "on"}, {"intent": "off" if i < 50 else "on"}, True, i / 100) for i in range(100)]
    assert Bound("wrong", 0.5).choose(some) == 0.01
    assert Bound("wrong", 0.1).choose(some) == 0.4
    assert Bound("wrong", 0.0).choose(some) == 0.5
    refused = [Answer({"intent": "on"}, {"out_of_scope": True}, True, 0.99)] * 50  # declined already, not wrong
    assert Bound("wrong", 0.0).choose(some + refused) == 0.5
    assert Bound("wrong", 0.0).choose([Answer({"intent": "on"}, {"intent": "off"}, True, 1.0)]) is None


def test_confidences_are_kept_in_the_manifest(tmp_path):
    task = Task("t", confidence_fields=("/intent",), confidence_temperature=1.25, min_confidence=0.4)
    bundle.write(tmp_path, Manifest("x", "1", "MIT", tasks={"t": task, "u": Task("u")}))
    assert bundle.read(tmp_path).tasks == {"t": task, "u": Task("u")}
    rewrite(tmp_path, {"u": {"min_confidence": 0.5}})
    assert bundle.read(tmp_path).tasks["u"].min_confidence == 0.5
    manifest = tmp_path / bundle.MANIFEST
    manifest.write_text(manifest.read_text() + "stop = ['x']\n")  # of [task.u]: this tool knows none
    with pytest.raises(UserError, match="lose"):
        rewrite(tmp_path, {"u": {"min_confidence": 0.6}})


def test_no_daemon_is_an_error_with_its_path(folder, tmp_path, capsys):
    (tmp_path / "l.jsonl").write_text('{"task":"intent","text":"on","answer":{"intent":"on"}}\n')
    assert cli.main(["eval", str(folder), str(tmp_path / "l.jsonl"), "--socket", str(tmp_path / "none")]) == 69
    assert "none" in capsys.readouterr().err
