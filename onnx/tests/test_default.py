"""The embedded bundle: whole, small, and answering as recorded."""

import json
from pathlib import Path

import pytest

from slmd_model import bundle

DEFAULT = Path(__file__).resolve().parents[1] / "default"
pytestmark = pytest.mark.skipif(not (DEFAULT / "slmd.toml").is_file(), reason="onnx/default is not built")


def test_hashes():
    assert bundle.verify(DEFAULT) == []


def test_size_and_layout():
    assert not (DEFAULT / "model.onnx.data").exists()
    assert sum(path.stat().st_size for path in DEFAULT.iterdir()) < 5_000_000


def test_schemas_are_those_of_the_grammars():
    from slmd_model import default_bundle
    from slmd_model.data import alert, signals

    if bundle.read(DEFAULT).version != default_bundle.VERSION:
        pytest.skip("the bundle is of an older recipe")
    for name, schema in (("vehicle", signals.schema()), ("alert", alert.schema())):
        assert json.loads((DEFAULT / f"{name}.schema.json").read_text()) == schema


def test_golden_answers_on_onnx_runtime():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("transformers")
    from slmd_model.default_bundle import answers

    answer = answers(DEFAULT, threads=1)
    for golden in bundle.read(DEFAULT).golden:
        text, count, _ = answer(golden.task, golden.prompt)
        assert text.startswith(golden.text)
        assert count <= 32
