"""From a float graph of a static pair to codes: QuantizeLinear and DequantizeLinear around every operator.

Activations are 16-bit codes (u16), weights 8-bit ones (s8, a scale for each output channel), keys and
values u8 or u16 codes with one scale a layer: what Hexagon-class NPUs multiply natively ("a16w8"). The cache's
ports hold codes, and the past and the new share one scale, so the host copies bytes. In the mask's port the largest
code means a score as it is, and 0 one that loses as much as all scores have of range: the addend's scale is then
about that of the sum, as compilers of fixed-point additions need it.

One unit is: DequantizeLinear on every input, the operator, QuantizeLinear on the output. Operators that
only move values keep the encoding of their input, as such compilers demand.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slmd_model.static_graph import MASK, MASK_ADDED, SCORES

MOVES = ("Reshape", "Transpose", "Split", "Slice", "Gather", "Concat")
TYPES = {np.uint8: TensorProto.UINT8, np.uint16: TensorProto.UINT16, np.int8: TensorProto.INT8}
SMALLEST = 1e-9  # of a scale


@dataclass(frozen=True)
class Encoding:
    """value = (code - zero) * scale"""

    dtype: type
    scale: float
    zero: int

    @classmethod
    def of(cls, low: float, high: float, dtype: type = np.uint16) -> "Encoding":
        """The codes of a range, which is widened to hold zero."""
        low, high = min(low, 0.0), max(high, 0.0)
        most = np.iinfo(dtype).max
        scale = max((high - low) / most, SMALLEST)
        return cls(dtype, scale, int(np.clip(round(-low / scale), 0, most)))

    @classmethod
    def symmetric(cls, largest: float, dtype: type) -> "Encoding":
        half = (np.iinfo(dtype).max + 1) // 2
        return cls(dtype, max(largest / (half - 1), SMALLEST), half)

    def codes(self, values: np.ndarray) -> np.ndarray:
        info = np.iinfo(self.dtype)
        return np.clip(np.round(values / self.scale) + self.zero, info.min, info.max).astype(self.dtype)


SOFTMAX = Encoding(np.uint16, 1 / 65535, 0)
MASK_CODE = 65535  # of a score as it is


def quantise(model: onnx.ModelProto, ranges: dict[str, tuple[float, float]], cache: Callable) -> onnx.ModelProto:
    """The graph in codes; `ranges` has every activation, `cache(layer, part)` the encoding of keys or values."""
    return Rewriter(model, ranges, cache).rewrite()


class Rewriter:
    def __init__(self, model, ranges, cache) -> None:
        self.model, self.ranges, self.cache = model, ranges, cache
        reach = max(high - low for name, (low, high) in ranges.items() if name.startswith(SCORES))
        self.mask = Encoding(np.uint16, reach / MASK_CODE, MASK_CODE)
        self.weights = {t.name: t for t in model.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.encodings: dict[str, Encoding] = {}
        self.renamed: dict[str, str] = {}

    def rewrite(self) -> onnx.ModelProto:
        graph = self.model.graph
        for port in graph.input:
            self.add_input(port)
        for node in graph.node:
            self.add(node)
        for port in graph.output:
            if port.name.startswith("present."):
                self.retype(port, self.cache_of(port.name).dtype)
        made = helper.make_graph(self.nodes, graph.name, graph.input, graph.output, list(self.initializers.values()))
        out = helper.make_model(made, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        out.producer_name = self.model.producer_name
        return out

    def cache_of(self, port: str) -> Encoding:
        """The encoding of `past_key_values.3.key` or `present.3.key`."""
        _, layer, part = port.split(".")
        return self.cache(int(layer), part)

    @staticmethod
    def retype(port, dtype: type) -> None:
        port.type.tensor_type.elem_type = TYPES[dtype]

    def add_input(self, port) -> None:
        if port.name == MASK:
            encoding, name = self.mask, MASK_ADDED
        elif port.name.startswith("past_key_values."):
            encoding, name = self.cache_of(port.name), f"/{port.name}"
        else:
            return
        self.retype(port, encoding.dtype)
        self.dequantise(port.name, name, encoding)
        self.renamed[port.name] = name

    def emit(self, op: str, inputs: list[str], output: str, **attributes) -> None:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))

    def parameters(self, encoding: Encoding) -> list[str]:
        code = np.dtype(encoding.dtype).name
        scale, zero = f"scale_{encoding.scale!r}", f"zero_{code}_{encoding.zero}"
        self.constant(scale, np.array(encoding.scale, np.float32))
        self.constant(zero, np.array(encoding.zero, encoding.dtype))
        return [scale, zero]

    def constant(self, name: str, array: np.ndarray) -> None:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)

    def quantise(self, x: str, codes: str, encoding: Encoding) -> None:
        self.emit("QuantizeLinear", [x, *self.parameters(encoding)], codes)

    def dequantise(self, codes: str, x: str, encoding: Encoding) -> None:
        self.emit("DequantizeLinear", [codes, *self.parameters(encoding)], x)
        self.encodings[x] = encoding

    def add(self, node) -> None:
        if node.output[0] in (MASK_ADDED, "/mask/lacks"):
            return  # the port's encoding says it all
        if node.op_type == "Identity":
            self.add_present(node)
            return
        inputs = [self.source(node, at) for at in range(len(node.input))]
        raw = [f"{o}/raw" for o in node.output]
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.ClearField("input")
        copy.ClearField("output")
        copy.input.extend(inputs)
        copy.output.extend(raw)
        self.nodes.append(copy)
        for before, after in zip(raw, node.output, strict=True):
            encoding = self.encoding_of(node, inputs, after)
            codes = f"{after}/codes"
            self.quantise(before, codes, encoding)
            self.dequantise(codes, after, encoding)

    def add_present(self, node) -> None:
        """The new keys or values: as the cache has them, for the port and for all that reads them."""
        x, port = node.input[0], node.output[0]
        encoding = self.cache_of(port)
        self.quantise(x, port, encoding)
        self.dequantise(port, f"/{port}", encoding)
        self.renamed[x] = f"/{port}"

    def encoding_of(self, node, inputs: list[str], output: str) -> Encoding:
        if node.op_type == "Softmax":
            return SOFTMAX
        if node.op_type in MOVES:
            return self.encodings[inputs[0]]
        return Encoding.of(*self.ranges[output])

    def source(self, node, at: int) -> str:
        name = node.input[at]
        tensor = self.weights.get(name)
        if tensor is None:
            return self.renamed.get(name, name)
        if tensor.data_type != TensorProto.FLOAT:
            self.initializers[name] = tensor
            return name
        return self.weight(name, numpy_helper.to_array(tensor), is_product=node.op_type == "MatMul")

    def weight(self, name: str, array: np.ndarray, is_product: bool) -> str:
        out = f"{name}/value"
        if out in self.encodings or f"{name}/codes" in self.initializers:
            return out
        if is_product:
            scale = np.maximum(np.abs(array).max(axis=0) / 127, SMALLEST).astype(np.float32)
            self.constant(f"{name}/codes", np.clip(np.round(array / scale), -127, 127).astype(np.int8))
            self.constant(f"{name}/scale", scale)
            self.constant(f"{name}/zero", np.zeros(scale.shape, np.int8))
            self.emit("DequantizeLinear", [f"{name}/{p}" for p in ("codes", "scale", "zero")], out, axis=1)
            return out
        encoding = Encoding.of(float(array.min()), float(array.max()))
        self.constant(f"{name}/codes", encoding.codes(array))
        self.dequantise(f"{name}/codes", out, encoding)
        return out
