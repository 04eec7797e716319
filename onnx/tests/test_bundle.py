"""slmd.toml: what is written can be read, and damage is seen."""

import dataclasses
import tomllib

from slmd_model import bundle, default_bundle
from slmd_model.bundle import Golden, Manifest, Task


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
    default_bundle.seal(tmp_path, 3)
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
