"""slmd.toml: what is written can be read, and damage is seen."""

import tomllib

from slmd_model import bundle
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


def test_damage_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    bundle.write(tmp_path, manifest())
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").unlink()
    assert bundle.verify(tmp_path) == ["b: missing", "a: SHA-256 differs"]
