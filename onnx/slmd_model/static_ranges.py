"""What the activations of a static pair reach: measured while the float model goes on from some prompts.

The decode graph runs with every activation as an output, one token a run, so no row of padding is
ever measured. Texts are the model's own, as for the int8 cache (`kv_scales`), whose rule for keys holds
here too: the largest value at any position of the context, not only at those of the texts.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from slmd_model import kv_scales
from slmd_model.errors import UserError
from slmd_model.kv_scales import MARGIN, Rotation
from slmd_model.static_graph import MASKED, SCORES
from slmd_model.static_session import StaticDecoder, cpu_session

BELOW = 16.0  # a score that is masked ends so far below the lowest one that is not


@dataclass
class Ranges:
    """(low, high) of each activation, and the largest |key| and |value| of each layer."""

    activations: dict[str, tuple[float, float]] = field(default_factory=dict)
    cache: dict[tuple[int, str], float] = field(default_factory=dict)

    def widen(self, name: str, values: np.ndarray) -> None:
        low, high = float(values.min()), float(values.max())
        old = self.activations.get(name, (low, high))
        self.activations[name] = (min(low, old[0]), max(high, old[1]))


class Calibrator(StaticDecoder):
    """A decoder that measures."""

    def __init__(self, instrumented: Path, threads: int) -> None:
        self.ranges = Ranges()
        super().__init__(None, instrumented, lambda path: cpu_session(path, threads))

    def seen(self, results: dict[str, np.ndarray]) -> None:
        for name, values in results.items():
            if name.startswith(SCORES):
                kept = values[values > -MASKED / 2]
                self.ranges.widen(name, np.append(kept, kept.min() - BELOW))
            elif values.dtype == np.float32:
                self.ranges.widen(name, values)

    def note_cache(self, rotation: Rotation) -> None:
        """Keys and values of the text that was just read."""
        for name, cache in self.past.items():
            _, layer, part = name.split(".")
            kept = cache[0, :, : self.length]
            if part == "key":
                kept = kv_scales.reach(kept, rotation)
            at = int(layer), part
            self.ranges.cache[at] = max(self.ranges.cache.get(at, 0.0), float(np.abs(kept).max()))


def instrument(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every float activation as an output."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    there = {o.name for o in out.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name not in there and not name.startswith("/mask/"):
                out.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return out


def measure(
    decode: Path, prompts: list[list[int]], rotation: Rotation, stops: frozenset[int], length: int, threads: int = 2
) -> Ranges:
    """Ranges over texts of at most `length` tokens each, widened by kv_scales' margin where a cache is concerned."""
    if not prompts:
        raise UserError("no text to calibrate with (--calibration FILE)", 64)
    instrumented = decode.with_name(".instrumented.onnx")
    try:
        onnx.save(instrument(onnx.load(decode, load_external_data=False)), instrumented)
        calibrator = Calibrator(instrumented, threads)
    finally:
        instrumented.unlink(missing_ok=True)
    for _ in kv_scales.own_texts(calibrator, prompts, stops, length, seed=0):
        calibrator.note_cache(rotation)
    ranges = calibrator.ranges
    if not all(np.isfinite(pair).all() for pair in ranges.activations.values()):
        raise UserError(f"{decode}: activations that are not finite, no codes for them", 65)
    ranges.cache = {at: MARGIN * largest for at, largest in ranges.cache.items()}
    return ranges


def rotation(cos: np.ndarray, sin: np.ndarray) -> Rotation:
    """Of the graph's own tables (context, head_dim), whose first half of sin is negative."""
    half = cos.shape[1] // 2
    return Rotation.of(cos[:, :half].astype(np.float64), sin[:, half:].astype(np.float64), interleaved=False)
