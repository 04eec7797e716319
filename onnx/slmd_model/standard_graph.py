"""A decoder in standard operators, with the ports of onnx-community (transformers.js) models.

Inputs: `input_ids`, `attention_mask`, `position_ids` (int64) and
`past_key_values.N.key|value` [batch, kv_heads, past, head_dim]; outputs:
`logits` [batch, tokens, vocab] and `present.N.key|value`, a concatenation of
past and new. Llama-style models only (RMSNorm, rotary halves, grouped-query
attention, SwiGLU), float32, optionally with weights in float16 or 4-bit MatMulNBits.
"""

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slmd_model.errors import UserError

OPSET = 18
IR_VERSION = 9
BLOCK_SIZE = 32


class Graph:
    """Collects nodes and initializers; every call returns the name of a value."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def __call__(self, op: str, *inputs: str, name: str | None = None, outputs: int = 1, **attributes):
        base = name or f"/{op}_{len(self.nodes)}"
        names = [base] if outputs == 1 else [f"{base}_{i}" for i in range(outputs)]
        node_name = base if base.startswith("/") else f"/{base}"
        self.nodes.append(helper.make_node(op, inputs, names, name=node_name, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value, dtype=np.int64) -> str:
        array = np.asarray(value, dtype)
        return self.weight(f"const_{array.dtype}_{'x'.join(map(str, array.shape))}_{array.ravel().tolist()}", array)

    def weight(self, name: str, array: np.ndarray) -> str:
        self.initializers.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


class Llama:
    """Builds the graph of one checkpoint."""

    def __init__(self, model) -> None:
        self.config = model.config
        self.state = {k: v.numpy() for k, v in model.state_dict().items()}
        self.heads = self.config.num_attention_heads
        self.kv_heads = self.config.num_key_value_heads
        self.head_dim = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.heads
        self.g = Graph()

    def norm(self, x: str, name: str) -> str:
        g = self.g
        mean = g("ReduceMean", g("Mul", x, x), g.constant([-1]), keepdims=1)
        root = g("Sqrt", g("Add", mean, g.constant(self.config.rms_norm_eps, np.float32)))
        return g("Mul", g("Div", x, root), g.weight(name, self.state[name]))

    def linear(self, x: str, name: str) -> str:
        weight = self.g.weight(name + ".T", self.state[name + ".weight"].T)
        return self.g("MatMul", x, weight, name=f"/{name.replace('.', '/')}/MatMul")

    def rotary_tables(self) -> tuple[str, str]:
        """cos and sin [batch, 1, tokens, head_dim] of the given positions."""
        g, config = self.g, self.config
        theta = config.rope_parameters["rope_theta"]
        inverse = theta ** (-np.arange(0, self.head_dim, 2, dtype=np.float64) / self.head_dim)
        angles = np.outer(np.arange(config.max_position_embeddings), np.concatenate([inverse, inverse]))
        tables = {"rotary.cos": np.cos(angles), "rotary.sin": np.sin(angles)}
        cos, sin = (
            g("Unsqueeze", g("Gather", g.weight(n, t.astype(np.float32)), "position_ids"), g.constant([1]))
            for n, t in tables.items()
        )
        return cos, sin

    def rotate(self, x: str, tables: tuple[str, str]) -> str:
        g = self.g
        first, second = g("Split", x, outputs=2, axis=-1, num_outputs=2)
        turned = g("Concat", g("Neg", second), first, axis=-1)
        return g("Add", g("Mul", x, tables[0]), g("Mul", turned, tables[1]))

    def mask(self) -> str:
        """Additive mask [batch, 1, tokens, total]: -3.4e38 where a token may not look."""
        g = self.g
        total = g("Shape", "attention_mask", start=1, end=2)
        new = g("Shape", "input_ids", start=1, end=2)
        zero, one = g.constant(0), g.constant(1)
        keys = g("Range", zero, g("Squeeze", total), one)
        queries = g("Range", g("Squeeze", g("Sub", total, new)), g("Squeeze", total), one)
        causal = g("LessOrEqual", keys, g("Unsqueeze", queries, g.constant([1])))
        present = g("Greater", g("Unsqueeze", "attention_mask", g.constant([1, 2])), zero)
        allowed = g("And", causal, present)
        return g("Where", allowed, g.constant(0, np.float32), g.constant(-3.4e38, np.float32))

    def by_head(self, x: str, heads: int) -> str:
        """[batch, tokens, heads * head_dim] -> [batch, heads, tokens, head_dim]"""
        split = self.g("Reshape", x, self.g.constant([0, 0, heads, self.head_dim]))
        return self.g("Transpose", split, perm=[0, 2, 1, 3])

    def repeat(self, x: str) -> str:
        """One copy of a key or value head per query head of its group."""
        g, group = self.g, self.heads // self.kv_heads
        if group == 1:
            return x
        copies = g("Concat", *[g("Unsqueeze", x, g.constant([2]))] * group, axis=2)
        shape = g("Concat", g.constant([0, self.heads]), g("Shape", x, start=2, end=4), axis=0)
        return g("Reshape", copies, shape)

    def attention(self, x: str, layer: int, tables: tuple[str, str], mask: str) -> str:
        g, prefix = self.g, f"model.layers.{layer}.self_attn"
        q, k, v = (self.linear(x, f"{prefix}.{p}_proj") for p in "qkv")
        q, k, v = self.by_head(q, self.heads), self.by_head(k, self.kv_heads), self.by_head(v, self.kv_heads)
        if f"{prefix}.q_norm.weight" in self.state:
            q, k = self.norm(q, f"{prefix}.q_norm.weight"), self.norm(k, f"{prefix}.k_norm.weight")
        q, k = self.rotate(q, tables), self.rotate(k, tables)
        k = g("Concat", f"past_key_values.{layer}.key", k, name=f"present.{layer}.key", axis=2)
        v = g("Concat", f"past_key_values.{layer}.value", v, name=f"present.{layer}.value", axis=2)
        scores = g("MatMul", q, g("Transpose", self.repeat(k), perm=[0, 1, 3, 2]))
        scaled = g("Mul", scores, g.constant(1 / math.sqrt(self.head_dim), np.float32))
        weights = g("Softmax", g("Add", scaled, mask), axis=-1)
        mixed = g("Transpose", g("MatMul", weights, self.repeat(v)), perm=[0, 2, 1, 3])
        flat = g("Reshape", mixed, g.constant([0, 0, self.heads * self.head_dim]))
        return self.linear(flat, f"{prefix}.o_proj")

    def feed_forward(self, x: str, layer: int) -> str:
        g, prefix = self.g, f"model.layers.{layer}.mlp"
        gate = self.linear(x, f"{prefix}.gate_proj")
        swish = g("Mul", gate, g("Sigmoid", gate))
        return self.linear(g("Mul", swish, self.linear(x, f"{prefix}.up_proj")), f"{prefix}.down_proj")

    def head(self, x: str) -> None:
        g, config = self.g, self.config
        if config.tie_word_embeddings:
            g("MatMul", x, g("Transpose", "model.embed_tokens.weight", perm=[1, 0]), name="logits")
        else:
            g("MatMul", x, g.weight("lm_head.T", self.state["lm_head.weight"].T), name="logits")

    def build(self) -> onnx.ModelProto:
        g, layers = self.g, self.config.num_hidden_layers
        embed = g.weight("model.embed_tokens.weight", self.state["model.embed_tokens.weight"])
        x, tables, mask = g("Gather", embed, "input_ids"), self.rotary_tables(), self.mask()
        for i in range(layers):
            prefix = f"model.layers.{i}"
            attended = self.attention(self.norm(x, f"{prefix}.input_layernorm.weight"), i, tables, mask)
            x = g("Add", x, attended)
            x = g("Add", x, self.feed_forward(self.norm(x, f"{prefix}.post_attention_layernorm.weight"), i))
        self.head(self.norm(x, "model.norm.weight"))
        graph = helper.make_graph(
            g.nodes, "decoder", self.inputs(layers), self.outputs(layers), list(g.initializers.values())
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "slmd-model"
        return model

    def cache(self, prefix: str, length: str, layers: int) -> list[onnx.ValueInfoProto]:
        shape = ["batch_size", self.kv_heads, length, self.head_dim]
        names = [f"{prefix}.{i}.{part}" for i in range(layers) for part in ("key", "value")]
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]

    def inputs(self, layers: int) -> list[onnx.ValueInfoProto]:
        lengths = {
            "input_ids": "sequence_length",
            "attention_mask": "total_sequence_length",
            "position_ids": "sequence_length",
        }
        ids = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", length])
            for name, length in lengths.items()
        ]
        return ids + self.cache("past_key_values", "past_sequence_length", layers)

    def outputs(self, layers: int) -> list[onnx.ValueInfoProto]:
        shape = ["batch_size", "sequence_length", self.config.vocab_size]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
        return [logits, *self.cache("present", "total_sequence_length", layers)]


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Matrices stored in float16, each with a Cast to float32 behind it: half of the file, the same ports."""
    graph, casts, half = model.graph, [], np.finfo(np.float16)
    for weight in graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.ndim < 2:
            continue
        if np.abs(array).max() > half.max:
            raise UserError(f"{weight.name} has values beyond float16; take another precision")
        stored = numpy_helper.from_array(array.astype(np.float16), f"{weight.name}.f16")
        casts.append(
            helper.make_node("Cast", [stored.name], [weight.name], f"/{weight.name}/Cast", to=TensorProto.FLOAT)
        )
        weight.CopyFrom(stored)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def quantise(model: onnx.ModelProto) -> onnx.ModelProto:
    """MatMul weights to 4-bit MatMulNBits, as onnx-community's `model_q4.onnx`."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(model, block_size=BLOCK_SIZE, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    return quantizer.model.model


def write(hf: Path, out: Path, precision: str) -> None:
    """Export the checkpoint folder `hf` to one ONNX file with its weights inline."""
    from slmd_model.golden import load_model

    model = load_model(hf)
    if model.config.model_type not in ("llama", "qwen3"):
        raise UserError(f"{hf}: the standard graph knows llama and qwen3, not {model.config.model_type}")
    graph = Llama(model).build()
    onnx.checker.check_model(graph)
    smaller = {"fp32": lambda model: model, "fp16": halve, "int4": quantise}
    onnx.save(smaller[precision](graph), out)
