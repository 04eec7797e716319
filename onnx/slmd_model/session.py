"""Runs an exported model on Python's ONNX Runtime, to check it against PyTorch.

Plain and slow on purpose: a new cache array per step, no shared buffers.
"""

import json
from pathlib import Path

import numpy as np

NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8}


def head_dim(model: Path) -> int:
    """Channels of one head. The GenAI builder leaves it symbolic in the graph's ports."""
    genai = model.parent / "genai_config.json"
    if genai.is_file():
        return json.loads(genai.read_text())["model"]["decoder"]["head_size"]
    config = json.loads((model.parent.parent / "config.json").read_text())
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


class Decoder:
    """A decoder graph with its cache; inputs are found by name."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.head_dim = head_dim(model)
        self.reset()

    def reset(self) -> None:
        self.past = {
            name: np.zeros([1, i.shape[1], 0, self.head_dim], NUMPY_TYPES[i.type])
            for name, i in self.inputs.items()
            if name.startswith("past_key_values.")
        }
        self.length = 0

    def run(self, tokens: list[int]) -> np.ndarray:
        """Logits (rows, vocab): one row per token, or the last one only if the head is pruned."""
        start, self.length = self.length, self.length + len(tokens)
        feed = {"input_ids": np.array([tokens], np.int64), **self.past}
        if "attention_mask" in self.inputs:
            feed["attention_mask"] = np.ones((1, self.length), np.int64)
        if "position_ids" in self.inputs:
            feed["position_ids"] = np.arange(start, self.length, dtype=np.int64)[None]
        results = dict(zip(self.outputs, self.session.run(None, feed), strict=True))
        self.past = {name: results[name.replace("past_key_values.", "present.")] for name in self.past}
        return results["logits"][0].astype(np.float32)

    def greedy(self, prompt: list[int], steps: int, stops: frozenset[int] = frozenset()) -> list[int]:
        self.reset()
        tokens, feed = [], prompt
        for _ in range(steps):
            token = int(self.run(feed)[-1].argmax())
            if token in stops:
                break
            tokens.append(token)
            feed = [token]
        return tokens
