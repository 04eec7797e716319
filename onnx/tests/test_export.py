"""One small checkpoint through both layouts: the exported graph must repeat PyTorch's answers."""

import json
import struct

import pytest

pytest.importorskip("torch", reason="torch is not installed (onnx/setup-python)")
pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed (onnx/setup-python)")

from slmd_model import bundle, golden
from slmd_model.errors import UserError
from slmd_model.export import Request, export
from slmd_model.genai import Options


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("genai", Options(precision="int4", symmetric=False)),
        ("genai", Options(precision="int8", full_logits=True)),
        ("transformers-js", Options(precision="fp32")),
    ],
)
def test_export_repeats_pytorch(checkpoint, tmp_path, layout, options):
    export(checkpoint, tmp_path / "b", Request("tiny", layout=layout, options=options, inline=layout == "genai"))
    assert bundle.verify(tmp_path / "b") == []
    assert bundle.read(tmp_path / "b").golden
    assert not list((tmp_path / "b").rglob("*.data"))


def test_a_wrong_layout_precision_is_refused(checkpoint, tmp_path):
    with pytest.raises(UserError, match="int8"):
        export(checkpoint, tmp_path / "b", Request("x", layout="transformers-js", options=Options(precision="int8")))
    assert not (tmp_path / "b").exists()


def test_reference_logits_are_readable(checkpoint, tmp_path):
    golden.reference_logits(checkpoint, tmp_path / "logits", tokens=5, seed=1)
    header = json.loads((tmp_path / "logits.json").read_text())
    raw = (tmp_path / header["data"]).read_bytes()
    assert len(header["tokens"]) == header["positions"] == 5
    assert len(raw) == 4 * 5 * header["vocab_size"]
    assert all(abs(value) < 1e4 for value in struct.unpack(f"<{len(raw) // 4}f", raw))
