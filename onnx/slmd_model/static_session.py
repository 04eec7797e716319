"""Runs a static pair on Python's ONNX Runtime, as the daemon does: chunks, padding, a cache of the host's.

Plain and slow on purpose. The contract of the ports is in docs/npu.md.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

NUMPY_TYPES = {
    "tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(int32)": np.int32,
}  # fmt: skip


def cpu_session(model: Path, threads: int = 1):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Chunk:
    """One graph of the pair."""

    def __init__(self, session) -> None:
        self.session = session
        self.inputs = {i.name: i for i in session.get_inputs()}
        self.outputs = [o.name for o in session.get_outputs()]
        self.tokens = self.inputs["input_ids"].shape[1]

    def run(self, tokens: list[int], length: int, past: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs for `tokens` after `length` positions of `past`; a short chunk is padded at its front."""
        pad, mask = self.tokens - len(tokens), self.inputs["attention_mask"]
        allowed = np.zeros(mask.shape, NUMPY_TYPES[mask.type])
        yes = 1 if allowed.dtype == np.float32 else np.iinfo(allowed.dtype).max
        context = mask.shape[3] - self.tokens
        for row in range(self.tokens):
            if row >= pad:
                allowed[0, 0, row, :length] = yes
            # A row of padding looks at itself alone, so that it is finite; nothing reads it.
            allowed[0, 0, row, context + min(row, pad) : context + row + 1] = yes
        ids = np.array([[0] * pad + list(tokens)], np.int32)
        positions = np.array([[0] * pad + list(range(length, length + len(tokens)))], np.int32)
        feed = {"input_ids": ids, "position_ids": positions, "attention_mask": allowed, **past}
        return dict(zip(self.outputs, self.session.run(self.outputs, feed), strict=True))


class StaticDecoder:
    """A pair with one cache."""

    def __init__(self, prefill: Path | None, decode: Path, open_session: Callable = cpu_session) -> None:
        self.decode = Chunk(open_session(decode))
        self.prefill = Chunk(open_session(prefill)) if prefill else self.decode
        self.context = next(i.shape[2] for n, i in self.decode.inputs.items() if n.startswith("past_key_values."))
        self.reset()

    def reset(self) -> None:
        self.past = {
            name: np.zeros(i.shape, NUMPY_TYPES[i.type])
            for name, i in self.decode.inputs.items()
            if name.startswith("past_key_values.")
        }
        self.length = 0

    def run(self, tokens: list[int]) -> np.ndarray:
        """Logits (1, vocab) after the last of `tokens`."""
        results = {}
        for start in range(0, len(tokens), self.prefill.tokens):
            part = tokens[start : start + self.prefill.tokens]
            graph = self.decode if len(part) == 1 else self.prefill
            results = graph.run(part, self.length, self.past)
            for name, cache in self.past.items():
                new = results[name.replace("past_key_values.", "present.")]
                cache[:, :, self.length : self.length + len(part)] = new[:, :, graph.tokens - len(part) :]
            self.length += len(part)
            self.seen(results)
        return results["logits"][0]

    def seen(self, results: dict[str, np.ndarray]) -> None:
        """What calibration overrides: all outputs of each run."""

    def greedy(self, prompt: list[int], steps: int, stops: frozenset[int] = frozenset()) -> list[int]:
        self.reset()
        tokens, feed = [], prompt
        for _ in range(min(steps, self.context + 1 - len(prompt))):
            token = int(self.run(feed)[-1].argmax())
            if token in stops:
                break
            tokens.append(token)
            feed = [token]
        return tokens
