"""`eval` against a socket that answers like the daemon."""

import json
import math
import socket
import threading

import pytest

pytest.importorskip("jsonschema", reason="jsonschema is not installed (onnx/setup-python)")

from slmd_model import bundle, cli, evaluate
from slmd_model.bundle import Manifest, Task

SCHEMA = {"type": "object", "properties": {"intent": {"enum": ["on", "off"]}}, "required": ["intent"]}


def token(text: str, probability: float) -> dict:
    return {"token": text, "bytes": list(text.encode()), "logprob": math.log(probability), "top_logprobs": []}


def reply(prompt: str) -> dict:
    intent = "off" if "off" in prompt else "on" if "on" in prompt else "maybe"
    text = json.dumps({"intent": intent}, separators=(",", ":"))
    parts = [token('{"intent":"', 1.0), token(f'{intent}"', 0.8), token("}", 0.5)]
    return {
        "status": "ok", "text": text, "logprobs": {"content": parts}, "usage": {"completion_tokens": 3},
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
    assert found["ece_label"] == pytest.approx(0.3)
    assert found["ece_answer"] == pytest.approx(0.1)
    assert len(wrong.read_text().splitlines()) == 2
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_confidence_of_the_whole_and_of_the_label():
    assert evaluate.confidences(reply("turn on")) == (pytest.approx(0.4), pytest.approx(0.8))
    assert evaluate.confidences(reply("on") | {"confidence": 0.7}) == (0.7, pytest.approx(0.8))
    assert evaluate.confidences({"text": "{}", "confidence": 0.4}) == (0.4, None)


def test_no_daemon_is_an_error_with_its_path(folder, tmp_path, capsys):
    (tmp_path / "l.jsonl").write_text('{"task":"intent","text":"on","answer":{"intent":"on"}}\n')
    assert cli.main(["eval", str(folder), str(tmp_path / "l.jsonl"), "--socket", str(tmp_path / "none")]) == 69
    assert "none" in capsys.readouterr().err
