"""Static pairs: shapes, answers of PyTorch in floats, and what codes cost."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (onnx/setup-python)")
pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed (onnx/setup-python)")

import onnx
from onnx import TensorProto, helper, numpy_helper

from slmd_model import bundle, golden, qdq, random_weights, static_export
from slmd_model.errors import UserError
from slmd_model.export import Request, export
from slmd_model.genai import Options
from slmd_model.static_export import Shapes

CHUNK, CONTEXT = 8, 48


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny")
    random_weights.make("tiny", out, seed=0, tokenizer=None, memorise=60, report=lambda text: None)
    return out


def request(precision: str) -> Request:
    return Request("tiny", options=Options(precision=precision), shapes=Shapes(CHUNK, CONTEXT), steps=8)


@pytest.fixture(scope="module")
def bundles(checkpoint, tmp_path_factory):
    """The pair in floats and in codes, with the notes of their exports."""
    out = tmp_path_factory.mktemp("bundles")
    return {p: (out / p, export(checkpoint, out / p, request(p))) for p in ("fp32", "int8")}


@pytest.fixture(scope="module")
def exact(checkpoint):
    """Tokens, and PyTorch's logits after each of them."""
    import torch

    tokens = np.random.default_rng(3).integers(3, 297, CONTEXT).tolist()
    with torch.inference_mode():
        return tokens, golden.load_model(checkpoint)(torch.tensor([tokens])).logits[0].numpy()


def ports(path) -> dict[str, tuple]:
    graph = onnx.load(path, load_external_data=False).graph
    return {
        p.name: (p.type.tensor_type.elem_type, [d.dim_value for d in p.type.tensor_type.shape.dim])
        for p in (*graph.input, *graph.output)
    }


@pytest.mark.parametrize(
    ("precision", "cache", "mask"),
    [("fp32", TensorProto.FLOAT, TensorProto.FLOAT), ("int8", TensorProto.UINT8, TensorProto.UINT16)],
)
def test_the_contract_of_the_ports(bundles, precision, cache, mask):
    folder, _ = bundles[precision]
    for name, tokens in (("prefill", CHUNK), ("decode", 1)):
        there = ports(folder / static_export.FILES[name])
        assert there.pop("input_ids") == there.pop("position_ids") == (TensorProto.INT32, [1, tokens])
        assert there.pop("attention_mask") == (mask, [1, 1, tokens, CONTEXT + tokens])
        assert there.pop("logits") == (TensorProto.FLOAT, [1, 1, 300])
        for layer in range(2):
            for part in ("key", "value"):
                assert there.pop(f"past_key_values.{layer}.{part}") == (cache, [1, 2, CONTEXT, 16])
                assert there.pop(f"present.{layer}.{part}") == (cache, [1, 2, tokens, 16])
        assert not there


def test_only_standard_operators_and_shared_weights(bundles):
    for precision, (folder, _) in bundles.items():
        sizes = []
        for file in static_export.FILES.values():
            model = onnx.load(folder / file, load_external_data=False)
            assert [o.domain for o in model.opset_import] == [""]
            assert {n.domain for n in model.graph.node} == {""}
            sizes.append(sum(numpy_helper.to_array(t, str(folder)).nbytes for t in model.graph.initializer))
        weights = (folder / static_export.WEIGHTS).stat().st_size
        assert weights < 1.2 * max(sizes), f"{precision}: {weights} of {sizes}"
        assert bundle.verify(folder) == []
        told = bundle.read(folder)
        assert told.static == bundle.Static("prefill.onnx", "decode.onnx", CHUNK, CONTEXT)
        assert told.kv == ("int8" if precision == "int8" else None)
        assert told.golden


def test_floats_give_what_pytorch_gives_however_they_are_fed(bundles, exact):
    tokens, want = exact
    decoder = static_export.open_pair(bundles["fp32"][0])
    for chunk in (1, 3, CHUNK, CONTEXT):
        decoder.reset()
        for start in range(0, CONTEXT, chunk):
            got = decoder.run(tokens[start : start + chunk])
            assert np.abs(got[0] - want[min(start + chunk, CONTEXT) - 1]).max() < 1e-3, (chunk, start)
    # A used cache, cut back.
    decoder.length = 20
    assert np.abs(decoder.run(tokens[20:25])[0] - want[24]).max() < 1e-3


def test_codes_cost_little(bundles, exact):
    tokens, want = exact
    folder, notes = bundles["int8"]
    decoder = static_export.open_pair(folder)
    got = np.concatenate([decoder.run([token]) for token in tokens])
    agree = (got.argmax(-1) == want.argmax(-1)).mean()
    kl = np.mean([static_export.divergence(a, b) for a, b in zip(want, got, strict=True)])
    assert agree > 0.85, agree
    assert kl < 0.01, kl
    assert any(note.startswith("codes against floats") for note in notes)
    # It does cost something: a check that compares floats with themselves would say nothing.
    assert kl > 1e-8
    decoder.reset()
    assert np.abs(decoder.run(tokens[:20])[0] - got[19]).max() < 0.25


def test_every_operator_is_wrapped_in_codes(bundles):
    """What the compilers of NPUs ask for: no float between two operators."""
    folder, _ = bundles["int8"]
    for file in static_export.FILES.values():
        graph = onnx.load(folder / file, load_external_data=False).graph
        made_by = {o: n.op_type for n in graph.node for o in n.output}
        weights = {t.name: t.data_type for t in graph.initializer}
        for node in graph.node:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                continue
            for name in node.input:
                integer = weights.get(name) == TensorProto.INT64 or name in ("input_ids", "position_ids")
                assert integer or made_by[name] == "DequantizeLinear", (node.op_type, name)
            for name in node.output:
                readers = {n.op_type for n in graph.node if name in n.input}
                assert readers == {"QuantizeLinear"}, (node.op_type, readers)


def test_encodings():
    low = qdq.Encoding.of(-1.0, 3.0)
    back = (low.codes(np.array([-1.0, 0.0, 3.0])).astype(float) - low.zero) * low.scale
    assert np.abs(back - [-1, 0, 3]).max() < 1e-4
    assert qdq.Encoding.of(0.5, 2.0).zero == 0, "zero has a code"
    even = qdq.Encoding.symmetric(2.0, np.uint8)
    assert (even.zero, even.codes(np.array([2.0, -2.0, 9.0])).tolist()) == (128, [255, 1, 255])


def test_what_cannot_be_had_is_refused(checkpoint, tmp_path):
    cases = [
        (Request("x", options=Options(precision="int4"), shapes=Shapes()), "fp32 or int8"),
        (Request("x", options=Options(precision="fp32"), shapes=Shapes(1, 64)), "--chunk"),
        (Request("x", options=Options(precision="fp32"), shapes=Shapes(32, 16)), "--chunk"),
        (Request("x", options=Options(precision="fp32"), shapes=Shapes(32, 512)), "256 positions"),
        (Request("x", options=Options(precision="int8"), shapes=Shapes(), kv="int8"), "no choice"),
    ]
    for asked, says in cases:
        with pytest.raises(UserError, match=says):
            export(checkpoint, tmp_path / "b", asked)
    assert not list(tmp_path.iterdir())


def test_qdq_of_a_graph_with_an_unknown_activation_fails():
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y])
    with pytest.raises(KeyError, match="y"):
        qdq.quantise(helper.make_model(graph), {"/scores/0": (-1.0, 1.0)}, lambda layer, part: None)
