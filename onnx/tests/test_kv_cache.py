"""The int8 KV cache: scales that hold at every position, and the graph that the builder would write."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (onnx/setup-python)")

from slmd_model import kv_cache, kv_scales
from slmd_model.errors import UserError
from slmd_model.golden import Question
from slmd_model.kv_scales import Rotation

POSITIONS, PAIRS = 300, 6


def tables(theta: float) -> tuple[np.ndarray, np.ndarray]:
    angles = np.arange(POSITIONS)[:, None] * theta ** (-np.arange(PAIRS) / PAIRS)
    return np.cos(angles), np.sin(angles)


def rotate(keys: np.ndarray, rotation: Rotation, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """`keys` at given rows of the tables."""
    out = keys.copy()
    a, b = keys[..., rotation.first], keys[..., rotation.second]
    out[..., rotation.first], out[..., rotation.second] = a * cos - b * sin, a * sin + b * cos
    return out


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("theta", [100.0, 1e5])
def test_reach_is_the_largest_value_at_any_position(interleaved, theta):
    cos, sin = tables(theta)
    rotation = Rotation.of(cos, sin, interleaved)
    plain = np.random.default_rng(0).standard_normal((2, 20, 2 * PAIRS + 3))  # three channels are not rotated
    kept = rotate(plain, rotation, cos[:20], sin[:20])
    everywhere = np.stack([np.abs(rotate(plain, rotation, cos[p], sin[p])) for p in range(POSITIONS)]).max(axis=0)
    found = kv_scales.reach(kept, rotation)
    assert (found >= everywhere - 1e-9).all()
    # Positions are whole numbers, so the peak of a fast pair may lie between two of them.
    assert (found <= everywhere * 1.15 + 1e-9).all()
    length = np.hypot(kept[..., rotation.first], kept[..., rotation.second])
    assert (found[..., rotation.first] <= length + 1e-9).all()


def test_calibration_files(tmp_path):
    lines, texts, empty = tmp_path / "a.jsonl", tmp_path / "b.txt", tmp_path / "c.txt"
    lines.write_text('{"text": "one", "task": "t"}\n\n{"text": "two", "answer": "x"}\n')
    texts.write_text("first\nof two\n\n\nsecond\n")
    empty.write_text("\n")
    assert kv_cache.read_calibration(lines, "d") == [Question("one", "t"), Question("two", "d")]
    assert kv_cache.read_calibration(texts) == [Question("first\nof two"), Question("second")]
    with pytest.raises(UserError, match="no text"):
        kv_cache.read_calibration(empty)
    with pytest.raises(UserError, match="no such file"):
        kv_cache.read_calibration(tmp_path / "d.txt")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A tiny checkpoint, and its bundle with an int8 cache."""
    pytest.importorskip("torch", reason="torch is not installed (onnx/setup-python)")
    pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed (onnx/setup-python)")
    from slmd_model import random_weights
    from slmd_model.export import Request, export

    hf, out = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("bundles") / "b"
    random_weights.make("tiny", hf, seed=0, tokenizer=None, memorise=60, report=lambda text: None)
    export(hf, out, Request("tiny", kv="int8"))
    return hf, out


def graph(folder):
    import onnx

    return onnx.load(folder / "model.onnx", load_external_data=False).graph


def cache_of(folder) -> dict:
    """All that says how a graph keeps keys and values, without the values of its scales."""
    found = graph(folder)
    scales = {t.name: (t.data_type, list(t.dims)) for t in found.initializer if t.name.endswith(("k_scale", "v_scale"))}
    ports = {p.name: p.type.tensor_type.elem_type for p in (*found.input, *found.output)}
    nodes = {
        n.name: (list(n.input[12:]), sorted(str(a) for a in n.attribute))
        for n in found.node
        if n.op_type == "GroupQueryAttention"
    }
    shared = json.loads((folder / "genai_config.json").read_text())["search"]["past_present_share_buffer"]
    return {"scales": scales, "ports": ports, "nodes": nodes, "shared": shared}


def test_the_graph_is_the_one_that_the_builder_writes(exported, tmp_path):
    from slmd_model import bundle, genai

    hf, out = exported
    scales = {t.name: t for t in graph(out).initializer if "attn.k_scale" in t.name}
    size = scales["model.layers.0.attn.k_scale"].dims[0]
    file = tmp_path / "scales.json"
    file.write_text(json.dumps({"scales": {side: [[0.1] * size] * len(scales) for side in ("k_scales", "v_scales")}}))

    class WithScheme(genai.Options):
        def extra(self, tied):
            return [*super().extra(tied), "kv_cache_quant_scheme=int8_per_channel", f"kv_cache_scale_file={file}"]

    genai.build(hf, tmp_path / "g", WithScheme())
    assert cache_of(out) == cache_of(tmp_path / "g")
    assert bundle.read(out).kv == "int8"
    assert bundle.verify(out) == []


def test_what_cannot_have_it_is_refused(exported, tmp_path):
    from slmd_model.export import Request, export, quantise_bundle
    from slmd_model.genai import Options

    hf, out = exported
    with pytest.raises(UserError, match="quantised"):
        quantise_bundle(out, tmp_path / "again", ())
    standard = Request("x", layout="transformers-js", options=Options(precision="fp32"), kv="int8")
    with pytest.raises(UserError, match="--layout genai"):
        export(hf, tmp_path / "standard", standard)
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_a_checkpoint_can_have_it(exported, tmp_path):
    from slmd_model import bundle
    from slmd_model.export import Request, export, quantise_bundle

    hf, _ = exported
    export(hf, tmp_path / "float", Request("tiny", inline=True))
    assert 'kv = "int8"' not in (tmp_path / "float" / bundle.MANIFEST).read_text()
    quantise_bundle(tmp_path / "float", tmp_path / "int8", ())
    old, new = bundle.read(tmp_path / "float"), bundle.read(tmp_path / "int8")
    assert new == dataclasses.replace(old, kv="int8")
    assert bundle.verify(tmp_path / "int8") == []
