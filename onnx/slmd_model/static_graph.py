"""A decoder of fixed shapes in standard operators, for NPUs whose compilers take nothing else.

Two graphs of one model: `prefill` takes `tokens` new ones, `decode` takes one. Both read a cache
of `context` positions that the host keeps, and give the keys and values of the new tokens alone.
The contract of their ports is in docs/npu.md. Nothing in them depends on a length: what is not
there yet is masked, and a short chunk is padded at its front, so that the last row is always the
one whose logits count.

Chosen for compilers of 8- and 16-bit codes: no expansion of shared key heads (the query heads of a
group are rows of one product), no Neg (the sign is in the sine table), and the scale of the
scores is in the query weights.
"""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper

from slmd_model.standard_graph import Llama

OPSET = 23  # RMSNormalization
IR_VERSION = 11
MASKED = 1e4  # what a score loses where a token may not look
MASK, MASK_ADDED, SCORES = "attention_mask", "/mask/added", "/scores/"


class StaticLlama(Llama):
    """Builds one of the two graphs of a checkpoint."""

    def __init__(self, model, tokens: int, context: int) -> None:
        super().__init__(model)
        self.tokens, self.context = tokens, context

    def norm(self, x: str, name: str) -> str:
        weight = self.g.weight(name, self.norm_weight(name))
        return self.g("RMSNormalization", x, weight, axis=-1, epsilon=self.config.rms_norm_eps)

    def norm_weight(self, name: str) -> np.ndarray:
        scaled = name.endswith("q_norm.weight")
        return self.state[name] * np.float32(self.score_scale if scaled else 1)

    @property
    def score_scale(self) -> float:
        return 1 / math.sqrt(self.head_dim)

    def linear(self, x: str, name: str) -> str:
        array = self.state[name + ".weight"].T
        if name.endswith("q_proj") and name.replace("q_proj", "q_norm.weight") not in self.state:
            array = array * np.float32(self.score_scale)
        weight = self.g.weight(name + ".T", array)
        return self.g("MatMul", x, weight, name=f"/{name.replace('.', '/')}/MatMul")

    def rotary_tables(self) -> tuple[str, str]:
        """cos and sin [1, 1, tokens, head_dim] of the given positions; the first half of sin is negative."""
        g, config = self.g, self.config
        theta = config.rope_parameters["rope_theta"]
        inverse = theta ** (-np.arange(0, self.head_dim, 2, dtype=np.float64) / self.head_dim)
        angles = np.outer(np.arange(self.context), inverse)
        cos, sin = np.cos(angles), np.sin(angles)
        tables = {"rotary.cos": np.hstack([cos, cos]), "rotary.sin": np.hstack([-sin, sin])}
        shape = g.constant([1, 1, self.tokens, self.head_dim])
        cos, sin = (
            g("Reshape", g("Gather", g.weight(n, t.astype(np.float32)), "position_ids", name=f"/{n}"), shape)
            for n, t in tables.items()
        )
        return cos, sin

    def rotate(self, x: str, tables: tuple[str, str]) -> str:
        g = self.g
        first, second = g("Split", x, outputs=2, axis=-1, num_outputs=2)
        turned = g("Concat", second, first, axis=-1)
        return g("Add", g("Mul", x, tables[0]), g("Mul", turned, tables[1]))

    def mask(self) -> str:
        """What is added to the scores [1, 1, group * tokens, context + tokens]: all heads of a group see the same."""
        g = self.g
        lacks = g("Sub", MASK, g.constant(1, np.float32), name="/mask/lacks")
        added = g("Mul", lacks, g.constant(MASKED, np.float32), name=MASK_ADDED)
        return added if self.group == 1 else g("Concat", *[added] * self.group, axis=2, name="/mask/grouped")

    def by_head(self, x: str, heads: int) -> str:
        split = self.g("Reshape", x, self.g.constant([1, self.tokens, heads, self.head_dim]))
        return self.g("Transpose", split, perm=[0, 2, 1, 3])

    def with_past(self, x: str, layer: int, part: str) -> str:
        """The whole cache [1, kv_heads, context + tokens, head_dim]: the past, then the new."""
        self.g("Identity", x, name=f"present.{layer}.{part}")
        return self.g("Concat", f"past_key_values.{layer}.{part}", x, axis=2, name=f"/cache/{layer}/{part}")

    def attention(self, x: str, layer: int, tables: tuple[str, str], mask: str) -> str:
        g, prefix = self.g, f"model.layers.{layer}.self_attn"
        q, k, v = (self.linear(x, f"{prefix}.{p}_proj") for p in "qkv")
        q, k, v = self.by_head(q, self.heads), self.by_head(k, self.kv_heads), self.by_head(v, self.kv_heads)
        if f"{prefix}.q_norm.weight" in self.state:
            q, k = self.norm(q, f"{prefix}.q_norm.weight"), self.norm(k, f"{prefix}.k_norm.weight")
        k = self.with_past(self.rotate(k, tables), layer, "key")
        v = self.with_past(v, layer, "value")
        scores = g("MatMul", self.grouped(self.rotate(q, tables)), g("Transpose", k, perm=[0, 1, 3, 2]))
        weights = g("Softmax", g("Add", scores, mask, name=f"{SCORES}{layer}"), axis=-1)
        mixed = g("MatMul", weights, v)
        mixed = g("Reshape", mixed, g.constant([1, self.heads, self.tokens, self.head_dim]))
        mixed = g("Transpose", mixed, perm=[0, 2, 1, 3])
        flat = g("Reshape", mixed, g.constant([1, self.tokens, self.heads * self.head_dim]))
        return self.linear(flat, f"{prefix}.o_proj")

    def grouped(self, x: str) -> str:
        """[1, heads, tokens, head_dim] with the query heads of a group as rows of their key head."""
        rows = self.group * self.tokens
        return self.g("Reshape", x, self.g.constant([1, self.kv_heads, rows, self.head_dim]))

    @property
    def group(self) -> int:
        """Query heads of a key head."""
        return self.heads // self.kv_heads

    def head(self, x: str) -> None:
        """Logits of the last row."""
        g = self.g
        if self.tokens > 1:
            last = [g.constant(v) for v in ([self.tokens - 1], [self.tokens], [1])]
            x = g("Slice", x, *last)
        tied = self.config.tie_word_embeddings
        array = self.state["model.embed_tokens.weight" if tied else "lm_head.weight"]
        g("MatMul", x, g.weight("lm_head.T", array.T), name="logits")

    def build(self) -> onnx.ModelProto:
        g, layers = self.g, self.config.num_hidden_layers
        embed = g.weight("model.embed_tokens.weight", self.state["model.embed_tokens.weight"])
        x, tables, mask = g("Gather", embed, "input_ids", name="/embedding"), self.rotary_tables(), self.mask()
        for i in range(layers):
            prefix = f"model.layers.{i}"
            attended = self.attention(self.norm(x, f"{prefix}.input_layernorm.weight"), i, tables, mask)
            x = g("Add", x, attended)
            x = g("Add", x, self.feed_forward(self.norm(x, f"{prefix}.post_attention_layernorm.weight"), i))
        self.head(self.norm(x, "model.norm.weight"))
        graph = helper.make_graph(
            g.nodes, "decoder", self.inputs(layers), self.outputs(layers), list(g.initializers.values())
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="slmd-model")

    def cache_ports(self, prefix: str, length: int, layers: int) -> list[onnx.ValueInfoProto]:
        shape = [1, self.kv_heads, length, self.head_dim]
        names = [f"{prefix}.{i}.{part}" for i in range(layers) for part in ("key", "value")]
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]

    def inputs(self, layers: int) -> list[onnx.ValueInfoProto]:
        ids = [
            helper.make_tensor_value_info(name, TensorProto.INT32, [1, self.tokens])
            for name in ("input_ids", "position_ids")
        ]
        shape = [1, 1, self.tokens, self.context + self.tokens]
        mask = helper.make_tensor_value_info(MASK, TensorProto.FLOAT, shape)
        return [*ids, mask, *self.cache_ports("past_key_values", self.context, layers)]

    def outputs(self, layers: int) -> list[onnx.ValueInfoProto]:
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, self.config.vocab_size])
        return [logits, *self.cache_ports("present", self.tokens, layers)]
