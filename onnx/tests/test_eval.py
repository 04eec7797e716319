"""`eval` against a socket that answers like the daemon."""

import json
import socket
import threading

import pytest

pytest.importorskip("jsonschema", reason="jsonschema is not installed (onnx/setup-python)")

from slmd_model import bundle, cli
from slmd_model.bundle import Manifest, Task
from slmd_model.calibrate import Bound, rewrite
from slmd_model.scores import Answer

SCHEMA = {"type": "object", "properties": {"intent": {"enum": ["on", "off"]}}, "required": ["intent"]}


STATUS = {"version": "1.2.3", "engine": {"name": "tract"}, "model": {"name": "x", "version": "1", "sha256": "ab"}}


def reply(request: dict) -> dict:
    if request.get("op") == "status":
        return {"id": None, "status": "ok", "report": STATUS}
    prompt = request["prompt"]
    if request["task"] != "intent":
        return {
            "status": "ok", "text": prompt.removesuffix("!"), "truncated": prompt.endswith("!"),
            "usage": {"completion_tokens": 3}, "timings": {"ttft_ms": 1.0, "total_ms": 2.0},
        }  # fmt: skip
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
        while True:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    connection.sendall(b'{"id":null,"delta":"x"}\n')
                    connection.sendall(json.dumps(reply(json.loads(line))).encode() + b"\n")

    threading.Thread(target=answer, daemon=True).start()
    yield path
    server.close()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "intent.schema.json").write_text(json.dumps(SCHEMA))
    tasks = {"intent": Task("intent", "intent.schema.json"), "note": Task("note"), "alert": Task("alert")}
    bundle.write(folder, Manifest("x", "1", "MIT", tasks=tasks))
    return folder


def write(path, lines):
    """Lines of (task, text, answer, other fields)."""
    objects = [{"task": task, "text": text, "answer": answer} | more for task, text, answer, more in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in objects))
    return path


def figures(daemon, folder, path, *more):
    """What `eval` writes."""
    out = path.with_suffix(".figures")
    assert cli.main(["eval", str(folder), str(path), "--socket", str(daemon), "--json", str(out), *more]) == 0
    return json.loads(out.read_text())


def test_figures_of_a_run(daemon, folder, tmp_path, capsys):
    lines = [("turn on", "on"), ("turn off", "off"), ("on?", "off"), ("what", "on")]
    path = tmp_path / "lines.jsonl"
    path.write_text(
        "".join(json.dumps({"task": "intent", "text": t, "answer": {"intent": i}}) + "\n" for t, i in lines)
    )
    out, wrong = tmp_path / "figures.json", tmp_path / "wrong.jsonl"
    arguments = ["eval", str(folder), str(path), "--socket", str(daemon), "--json", str(out), "--wrong", str(wrong)]
    assert cli.main([*arguments, "--plot", str(tmp_path / "r.png")]) == 0
    written = json.loads(out.read_text())
    found = written["sources"]["lines"]
    assert found["exact"][0] == found["label_accuracy"][0] == 0.5
    assert found["valid"][0] == 0.75
    assert found["ece"][0] == pytest.approx((3 * (0.8 - 2 / 3) + 0.3) / 4, abs=1e-3)
    for name in ("valid", "ece", "label_macro_f1"):
        value, low, high = found[name]
        assert low <= value <= high and low < high
    assert found["ms"]["p95"] == 2.0
    assert 0 < found["socket_ms"]["p50"] <= found["socket_ms"]["p99"]
    assert "the daemon's own total" in capsys.readouterr().out
    assert found["false_declined"][0] == 0.25
    assert found["wrong_and_sure"][0] == 0.25
    assert len(wrong.read_text().splitlines()) == 2
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_figures_say_what_was_measured(daemon, folder, tmp_path):
    path = write(tmp_path / "l.jsonl", [("intent", "turn on", {"intent": "on"}, {})] * 9)
    assert figures(daemon, folder, path, "--sample", "3")["run"] == {
        "bundle": str(folder), "name": "x", "version": "1", "manifest_sha256": bundle.sha256(folder / bundle.MANIFEST),
        "model": STATUS["model"], "slmd": "1.2.3", "engine": "tract", "threads": None,
        "files": [str(path)], "lines": 3, "sample": 3, "limit": None, "tasks": None,
    }  # fmt: skip


def test_answers_can_be_text(daemon, folder, tmp_path):
    lines = [
        ("note", "all is well", "all is well\n", {}),
        ("note", "slots", "no slots", {}),
        ("note", "12", 12, {}),
        ("note", "cut!", "cut", {}),
        ("note", "no object", {"slots": []}, {}),
        ("note", '["slots"]', ["slots"], {}),
        ("note", '{"intent":"x"}', "text", {}),
        ("intent", "turn on", "on", {}),
    ]
    found = figures(daemon, folder, write(tmp_path / "l.jsonl", lines))["tasks"]
    assert found["note"]["exact"][0] == round(4 / 7, 4)  # all, 12, cut and the array
    assert found["note"]["valid"][0] == round(5 / 7, 4)  # but what was cut, and what is no object
    assert "label_accuracy" not in found["note"]
    assert (found["intent"]["exact"][0], found["intent"]["valid"][0]) == (0.0, 1.0)


def test_open_answers_are_refused(daemon, folder, tmp_path, capsys):
    lines = [("intent", "turn on", {"intent": "on"}, {}), ("note", "a", '{"a":', {"open": True})]
    path = write(tmp_path / "l.jsonl", lines)
    assert cli.main(["eval", str(folder), str(path), "--socket", str(daemon)]) == 65
    assert "l.jsonl:2: " in capsys.readouterr().err
    assert figures(daemon, folder, path, "--task", "intent")["sources"]["l"]["lines"] == 1
    assert cli.main(["eval", str(folder), str(path), "--socket", str(daemon), "--task", "intnt"]) == 65
    assert "intnt" in capsys.readouterr().err


def test_a_sample_is_spread_over_all_lines(daemon, folder, tmp_path):
    lines = [
        ("note", f"{i} in {s}", "x", {"source": s}) for s, n in (("a", 60), ("b", 30), ("c", 10)) for i in range(n)
    ]
    path = write(tmp_path / "l.jsonl", lines)
    found = [figures(daemon, folder, path, "--sample", "10", "--wrong", str(tmp_path / w)) for w in "vw"]
    assert {name: one["lines"] for name, one in found[0]["sources"].items()} == {"a": 6, "b": 3, "c": 1}
    texts = (tmp_path / "v").read_text()
    assert texts == (tmp_path / "w").read_text()
    assert len(set(texts.splitlines())) == 10
    assert figures(daemon, folder, path, "--sample", "1000")["run"]["lines"] == 100
    for bad in (["--sample", "0"], ["--sample", "5", "--limit", "5"]):
        with pytest.raises(SystemExit):
            cli.main(["eval", str(folder), str(path), *bad])


def test_causes_that_follow_rules_are_told_apart(daemon, folder, tmp_path):
    causes = [("power", "power"), ("overstrain", "power"), ("heat_dissipation", "heat_dissipation"), ("normal", "flat")]
    lines = [("alert", json.dumps({"cause": got}), {"cause": want}, {}) for want, got in causes]
    lines.append(("note", '{"cause":"power"}', {"cause": "power"}, {"source": "other"}))
    found = figures(daemon, folder, write(tmp_path / "l.jsonl", lines))
    assert found["sources"]["l"]["rule_f1"][0] == round((2 / 3 + 0 + 1) / 3, 4)
    assert found["sources"]["l"]["label_macro_f1"][0] == round((2 / 3 + 0 + 1 + 0) / 4, 4)
    assert "rule_f1" not in found["sources"]["other"]


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
    manifest = tmp_path / bundle.MANIFEST
    manifest.write_text(manifest.read_text() + "stop = ['x'] # by hand, of [task.u]\n")
    rewrite(tmp_path, {"u": {"min-confidence": 0.5}, "t": {"confidence-temperature": 1.5, "min-confidence": None}})
    tasks = bundle.read(tmp_path).tasks
    assert (tasks["u"].min_confidence, tasks["t"].confidence_temperature, tasks["t"].min_confidence) == (0.5, 1.5, None)
    assert "stop = ['x'] # by hand, of [task.u]\nmin-confidence = 0.5" in manifest.read_text()


def test_no_daemon_is_an_error_with_its_path(folder, tmp_path, capsys):
    (tmp_path / "l.jsonl").write_text('{"task":"intent","text":"on","answer":{"intent":"on"}}\n')
    assert cli.main(["eval", str(folder), str(tmp_path / "l.jsonl"), "--socket", str(tmp_path / "none")]) == 69
    assert "none" in capsys.readouterr().err
