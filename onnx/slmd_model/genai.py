"""Runs the model builder of onnxruntime-genai with the options that run fast on a CPU.

Option names are those of onnxruntime-genai 0.18 (`accuracy_level` and
`block_size`; older releases called them `int4_accuracy_level` and
`int4_block_size`). The builder writes weights to `model.onnx.data`.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from slmd_model.errors import UserError

QUANTISED = ("int4", "int8")


@dataclass(frozen=True)
class Options:
    """How to build a graph; the defaults are the fast ones."""

    precision: str = "int4"
    full_logits: bool = False  # logits for every token, not for the last one only
    symmetric: bool = True
    accuracy_level: int = 4  # 4: activations in 8 bits, twice as fast; 0: in fp32
    block_size: int = 32
    fuse_gate_up: bool = True
    algorithm: str = ""  # default (round to nearest in MLAS), rtn or k_quant; "" picks one that works
    mixed: str = ""  # e.g. "last_matmul:int8": groups that get other bits

    def quantiser(self) -> str:
        """The builder's `algo_config`.

        In 0.18 `default` names the tied tensors wrongly in two cases, and the
        graph does not load: 4-bit weights with zero points, and a head with
        other bits than the body. `rtn` has neither fault.
        """
        if self.algorithm:
            return self.algorithm
        faulty = self.mixed or (self.precision == "int4" and not self.symmetric)
        return "rtn" if faulty else "default"

    def extra(self, tied: bool) -> list[str]:
        """KEY=VALUE pairs for the builder."""
        pairs = {
            "prune_lm_head": not self.full_logits,
            "fuse_mlp_gate_up": self.fuse_gate_up,
        }
        if self.precision in QUANTISED:
            pairs |= {
                "accuracy_level": self.accuracy_level,
                "block_size": self.block_size,
                "is_symmetric": self.symmetric,
                "shared_embeddings": tied,
                "algo_config": self.quantiser(),
            }
            if self.mixed:
                pairs["matmul_mixed_precision"] = self.mixed
        return [f"{key}={str(value).lower()}" for key, value in pairs.items()]


def build(hf: Path, out: Path, options: Options) -> None:
    """Export the checkpoint folder `hf` to a GenAI directory `out`."""
    config_file = hf / "config.json"
    if not config_file.is_file():
        raise UserError(f"{hf}: no config.json, not a Hugging Face checkpoint folder", 66)
    tied = json.loads(config_file.read_text()).get("tie_word_embeddings", False)
    with tempfile.TemporaryDirectory() as cache:
        command = [
            sys.executable, "-m", "onnxruntime_genai.models.builder",
            "-i", str(hf), "-o", str(out), "-p", options.precision, "-e", "cpu", "-c", cache,
            "--extra_options", *options.extra(tied),
        ]  # fmt: skip
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UserError(f"the model builder failed on {hf}:\n{(done.stdout + done.stderr)[-4000:]}", 70)


def embed_weights(folder: Path) -> None:
    """Move the weights from model.onnx.data into model.onnx (for models built into a binary)."""
    import onnx

    model = onnx.load(folder / "model.onnx")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx.data").unlink()
    onnx.save(model, folder / "model.onnx")
