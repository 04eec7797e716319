"""A bundle's weights as a checkpoint again, and training that begins from one."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed (onnx/setup-python)")
pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed (onnx/setup-python)")

import torch
from transformers import AutoModelForCausalLM

from slmd_model.errors import UserError
from slmd_model.export import Request, export
from slmd_model.genai import Options
from slmd_model.train import Run, Settings, Shape
from slmd_model.unpack import unpack


@pytest.mark.parametrize(("precision", "mixed", "step"), [("int8", "", 1 / 127), ("int4", "last_matmul:int8", 1 / 7)])
def test_weights_come_back_within_a_step_of_their_codes(checkpoint, tmp_path, precision, mixed, step):
    options = Options(precision=precision, mixed=mixed)
    export(checkpoint, tmp_path / "b", Request("tiny", layout="genai", options=options, inline=True))
    unpack(tmp_path / "b", tmp_path / "hf")
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    assert model.config.rope_parameters == again.config.rope_parameters
    for (name, was), value in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert (was - value).abs().max() <= was.abs().max() * step, name
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        a, b = model(ids).logits, again(ids).logits
    assert torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1] > 0.95


def test_training_goes_on_from_a_checkpoint(checkpoint, tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": "on", "answer": {"on": 1}}) + "\n")
    shape = Shape(hidden=64, layers=2, feed_forward=96, heads=2, kv_heads=1, vocabulary=300)
    quiet = {"shape": shape, "settings": Settings(steps=2, warmup=1), "tell": lambda text: None}
    first, second = (tmp_path / name for name in ("first", "second"))
    first.mkdir(), second.mkdir()
    Run(tmp_path, first, **quiet).run()
    run = Run(tmp_path, second, start=first / "hf", **quiet)
    was = AutoModelForCausalLM.from_pretrained(first / "hf", dtype=torch.float32).state_dict()
    assert all(torch.equal(was[name], value) for name, value in run.model.state_dict().items())
    run.run()
    assert any(not torch.equal(was[name], value) for name, value in run.model.state_dict().items())
    assert (second / "hf/tokenizer.json").read_bytes() == (first / "hf/tokenizer.json").read_bytes()
    with pytest.raises(UserError, match="no checkpoint"):
        Run(tmp_path, second, start=tmp_path, **quiet)
    with pytest.raises(UserError, match="not that of"):
        Run(tmp_path, second, start=checkpoint, **quiet)


def test_what_is_no_such_bundle_is_told(tmp_path):
    with pytest.raises(UserError, match="missing"):
        unpack(tmp_path, tmp_path / "hf")
