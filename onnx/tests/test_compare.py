"""`compare` and the start of a daemon, with a small program in its place."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("jsonschema", reason="jsonschema is not installed (onnx/setup-python)")

from slmd_model import bundle, cli, compare, daemon
from slmd_model.bundle import Manifest, Task
from slmd_model.errors import UserError
from slmd_model.scores import Answer

PROGRAM = """\
#!{python}
import json, socket, sys, tomllib
if sys.argv[1] == "calibrate":
    assert sys.argv[2:4] == ["--dry-run", "--json"], sys.argv
    print(json.dumps({{"temperature": 1.5, "examples": 20, "right": 9, "before": {{}}, "after": {{}}, "bounds": []}}))
    sys.exit()
config = tomllib.load(open(sys.argv[3], "rb"))
if "broken" in config["model"]:
    sys.exit("config.toml: the model is broken")
server = socket.socket(socket.AF_UNIX)
server.bind(config["unix"]["path"])
server.listen()
while True:
    connection, _ = server.accept()
    for line in connection.makefile("rb"):
        request = json.loads(line)
        reply = {{"status": "ok", "report": {{"serving": True, "engine": {{"name": config["engine"]}}}}}}
        if "prompt" in request:
            right = "int4" not in config["model"] or request["prompt"] != "b"
            text = json.dumps({{"intent": request["prompt"] if right else "z"}})
            reply = {{"status": "ok", "text": text, "confidence": 0.4 if request["prompt"] == "unsure" else 0.9,
                     "usage": {{"completion_tokens": 5}}, "timings": {{"ttft_ms": 1.0, "total_ms": 3.0}}}}
        connection.sendall(json.dumps(reply).encode() + b"\\n")
"""


@pytest.fixture
def program(tmp_path) -> str:
    path = tmp_path / "slmd"
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


def make(folder: Path) -> str:
    folder.mkdir()
    bundle.write(folder, Manifest("x", "1", "MIT", tasks={"intent": Task("intent")}))
    return str(folder)


def test_two_bundles_side_by_side(program, tmp_path):
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps({"task": "intent", "text": t, "answer": {"intent": t}}) + "\n" for t in "abab"))
    folders = [make(tmp_path / name) for name in ("fp32", "int4")]
    out = tmp_path / "out.json"
    assert cli.main(["compare", *folders, "--lines", str(lines), "--slmd", program, "--json", str(out)]) == 0
    first, second = (json.loads(out.read_text())[folder] for folder in folders)
    assert (first["exact"][0], second["exact"][0]) == (1.0, 0.5)
    assert second["against_first"]["all"] == {"only_first": 2, "only_second": 0, "p": 0.5}
    assert first["tokens_per_second"] == 2000.0
    assert first["rss_mib"] > 1 and first["bundle_bytes"] > 50


def test_differences_to_the_first_bundle(program, tmp_path, capsys):
    lines = tmp_path / "lines.jsonl"
    of = {"a": "one", "b": "two"}
    objects = [{"task": "intent", "text": t, "answer": {"intent": t}, "source": of[t]} for t in "aaab" * 30]
    lines.write_text("".join(json.dumps(line) + "\n" for line in objects))
    folders, out = [make(tmp_path / name) for name in ("fp32", "same", "int4")], tmp_path / "out.json"
    arguments = ["compare", *folders, "--lines", str(lines), "--slmd", program, "--json", str(out)]
    assert cli.main([*arguments, "--engine", "tract", "--sample", "40"]) == 0
    first, same, other = (json.loads(out.read_text())[folder] for folder in folders)
    assert "difference" not in first
    assert same["difference"]["two"]["exact"] == [0.0, 0.0, 0.0] and same["worse"] == []
    value, low, high = other["difference"]["all"]["exact"]
    assert low < value < high < 0
    assert other["difference"]["two"]["label_accuracy"] == [-1.0, -1.0, -1.0]
    assert other["difference"]["two"]["ece"][0] == pytest.approx(0.8)
    assert ["two", "ece"] in other["worse"] and ["two", "wrong_answer"] in other["worse"]
    assert not [name for source, name in other["worse"] if source == "one"]
    run = first["run"]
    assert (run["engine"], run["threads"], run["sample"], run["lines"], run["name"]) == ("tract", 2, 40, 40, "x")
    assert first["p95_ms"] == 3.0 and first["p95_socket_ms"] > 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["fp32", "same", "int4"]
    (exact,) = [rows[i + 1].split() for i, row in enumerate(rows) if row.startswith("two: ")]
    assert " ".join(exact) == "exact 100.0 (100.0-100.0) 100.0 +0.0 (+0.0 to +0.0) 0.0 -100.0 (-100.0 to -100.0) !!"
    assert any(row.startswith("p95 through the socket, ms") for row in rows)


def test_a_figure_that_one_bundle_has_not():
    right, unsure = Answer("on", "on", True), Answer("on", "on", True, abstained=True)
    found = compare.against([{"source": "s"}] * 2, [right, right], [right, unsure])
    assert found["difference"]["s"]["false_declined"][0] == 0.5
    assert ["s", "false_declined"] in found["worse"]
    own = {"sources": {"s": {"lines": 2, "exact": [1.0, 1.0, 1.0]}}, "exact": [1.0, 1.0, 1.0]}
    other = {"sources": {"s": {"lines": 2, "exact": [1.0, 1.0, 1.0], "false_declined": [0.5, 0.0, 1.0]}}} | found
    name, first, second = compare.rows_of("s", [own, other])[2]
    assert (name, first) == ("  false_declined", "-")
    assert second.startswith("50.0 +50.0 (+0.0 to ") and second.endswith(" !")


def test_calibration_goes_into_the_manifest(program, tmp_path, capsys):
    texts = ["a"] * 18 + ["unsure"] * 2
    path, folder = tmp_path / "lines.jsonl", make(tmp_path / "b")
    path.write_text("".join(json.dumps({"task": "intent", "text": t, "answer": {"intent": t}}) + "\n" for t in texts))
    assert cli.main(["calibrate", folder, str(path), "--slmd", program, "--declined", "intent=0.05"]) == 0
    task = bundle.read(Path(folder)).tasks["intent"]
    assert (task.confidence_temperature, task.min_confidence) == (1.5, 0.4)
    assert cli.main(["calibrate", folder, str(path), "--slmd", program, "--declined", "snips=0.05"]) == 65
    assert "snips" in capsys.readouterr().err
    assert bundle.read(Path(folder)).tasks["intent"] == task


def test_a_daemon_that_does_not_come_up_says_why(program, tmp_path):
    with pytest.raises(UserError, match="the model is broken"), daemon.serve(program, Path(make(tmp_path / "broken"))):
        pass
