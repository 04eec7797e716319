"""A checkpoint to a pair of static graphs in a bundle, in floats or in codes, with figures of what the codes cost."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from slmd_model import golden, qdq, static_ranges
from slmd_model.errors import UserError
from slmd_model.static_graph import StaticLlama
from slmd_model.static_session import StaticDecoder

FILES = {"prefill": "prefill.onnx", "decode": "decode.onnx"}
WEIGHTS = "weights.bin"
INLINE_BYTES = 1024  # smaller tensors stay in the graphs' files
ALIGNMENT = 4096  # of the others, so that they can be mapped
PRECISIONS = ("fp32", "int8")
CALIBRATION_TOKENS = 256  # of each prompt with what follows it
HELD_TOKENS = 128  # of each held text


@dataclass(frozen=True)
class Shapes:
    """Tokens of one run of the prefill graph, and positions of the cache."""

    chunk: int = 32
    context: int = 1024

    def check(self, longest: int) -> None:
        if not 2 <= self.chunk <= self.context:
            raise UserError(f"--chunk is {self.chunk}: 2 to --context ({self.context}) tokens", 64)
        if self.context > longest:
            raise UserError(f"--context is {self.context}, the model was made for {longest} positions", 64)


def write(hf: Path, folder: Path, shapes: Shapes, precision: str, prompts, held) -> tuple[StaticDecoder, list[str]]:
    """The pair in `folder`, opened, and notes on it; `prompts` are to calibrate with, `held` to judge by."""
    if precision not in PRECISIONS:
        raise UserError(f"static shapes are made in {' or '.join(PRECISIONS)}, not {precision} (--precision)", 64)
    model = golden.load_model(hf)
    if model.config.model_type not in ("llama", "qwen3"):
        raise UserError(f"{hf}: the static graphs know llama and qwen3, not {model.config.model_type}")
    shapes.check(model.config.max_position_embeddings)
    tokens = {"prefill": shapes.chunk, "decode": 1}
    pair = {name: StaticLlama(model, count, shapes.context).build() for name, count in tokens.items()}
    if precision == "fp32":
        save(pair, folder)
        return open_pair(folder), []
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".slmd-floats-") as work:
        floats = Path(work)
        save(pair, floats)
        turns = rotation(pair["decode"])
        length = min(CALIBRATION_TOKENS, shapes.context)
        ranges = static_ranges.measure(
            floats / FILES["decode"], prompts, turns, frozenset(golden.stop_ids(model)), length
        )
        save({name: codes(graph, ranges) for name, graph in pair.items()}, folder)
        exact, coded = open_pair(floats), open_pair(folder)
        return coded, [compare(exact, coded, held)]


def open_pair(folder: Path) -> StaticDecoder:
    return StaticDecoder(folder / FILES["prefill"], folder / FILES["decode"])


def codes(graph: onnx.ModelProto, ranges: static_ranges.Ranges) -> onnx.ModelProto:
    return qdq.quantise(
        graph, ranges.activations, lambda layer, part: qdq.Encoding.symmetric(ranges.cache[layer, part], np.uint8)
    )


def rotation(graph: onnx.ModelProto):
    tables = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer if t.name.startswith("rotary.")}
    return static_ranges.rotation(tables["rotary.cos"], tables["rotary.sin"])


def save(pair: dict[str, onnx.ModelProto], folder: Path) -> None:
    """Both graphs, with the weights of both in one file: what they share is there once."""
    places: dict[tuple[str, bytes], int] = {}
    with (folder / WEIGHTS).open("wb") as file:
        for name, graph in pair.items():
            out = onnx.ModelProto()
            out.CopyFrom(graph)
            for tensor in out.graph.initializer:
                move_out(tensor, file, places)
            onnx.save(out, folder / FILES[name])
            onnx.checker.check_model(folder / FILES[name], full_check=True)


def move_out(tensor: onnx.TensorProto, file, places: dict) -> None:
    data = tensor.raw_data
    if len(data) < INLINE_BYTES:
        return
    key = tensor.name, hashlib.sha256(data).digest()
    if key not in places:
        file.write(bytes(-file.tell() % ALIGNMENT))
        places[key] = file.tell()
        file.write(data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for field, value in (("location", WEIGHTS), ("offset", places[key]), ("length", len(data))):
        tensor.external_data.add(key=field, value=str(value))


def compare(exact: StaticDecoder, coded: StaticDecoder, texts: list[list[int]]) -> str:
    """Teacher-forced, token by token: how often the top token is the same, and KL(exact || coded) in nats."""
    same, divergences = [], []
    for text in texts:
        exact.reset()
        coded.reset()
        for token in text[: min(HELD_TOKENS, exact.context)]:
            want, got = exact.run([token])[-1], coded.run([token])[-1]
            same.append(want.argmax() == got.argmax())
            divergences.append(divergence(want, got))
    return (
        f"codes against floats, {len(same)} tokens of held texts: top token equal {100 * np.mean(same):.1f} %, "
        f"KL mean {np.mean(divergences):.2g}, largest {np.max(divergences):.2g}"
    )


def divergence(want: np.ndarray, got: np.ndarray) -> float:
    p, q = log_softmax(want), log_softmax(got)
    return float((np.exp(p) * (p - q)).sum())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64) - logits.max()
    return logits - np.log(np.exp(logits).sum())
