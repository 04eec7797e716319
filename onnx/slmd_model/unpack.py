"""From a bundle's 4- or 8-bit weights back to a checkpoint of floats, to go on training where its own is gone.

Reads what onnxruntime-genai's builder writes for a Llama: symmetric
`MatMulNBits`, query, key and value as one matrix, gate and up projection as
another, the head shared with the embedding. (MatMulNBits: ONNX Runtime's
contrib operators; 4-bit codes are stored two to a byte, the lower half first.)
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np

from slmd_model.default_tokenizer import FILES
from slmd_model.errors import UserError


def unpack(bundle: Path, out: Path) -> None:
    """Write `out`, a Hugging Face folder of LlamaForCausalLM in float32, from the bundle's model.onnx."""
    import onnx
    import torch

    file = bundle / "model.onnx"
    for name in (file.name, "genai_config.json", *FILES):
        if not (bundle / name).is_file():
            raise UserError(f"{bundle / name}: missing; a bundle of --layout genai holds it", 66)
    graph = onnx.load(file).graph
    config = json.loads((bundle / "genai_config.json").read_text(encoding="utf-8"))["model"]
    model = empty(config, graph)
    wanted = model.state_dict()
    found = {name: torch.from_numpy(value) for name, value in weights(graph, config).items()}
    found["lm_head.weight"] = found["model.embed_tokens.weight"]
    if found.keys() != wanted.keys() or any(found[name].shape != wanted[name].shape for name in wanted):
        raise UserError(f"{file}: its weights are not those of a Llama with one embedding for input and output")
    model.load_state_dict(found)
    model.save_pretrained(out)
    for name in FILES:
        shutil.copyfile(bundle / name, out / name)


def empty(config: dict, graph):
    """The model that the bundle describes, without weights; its rotary base is read from the graph's tables."""
    from transformers import LlamaConfig, LlamaForCausalLM

    decoder, size = config["decoder"], config["decoder"]["head_size"]
    rows = next(a.i for a in product(graph, "model.layers.0.mlp.gate_up_proj.MatMul").attribute if a.name == "N")
    cos = floats(graph, "cos_cache")
    epsilon = next(a.f for n in graph.node for a in n.attribute if a.name == "epsilon")
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config["vocab_size"], hidden_size=decoder["hidden_size"],
            intermediate_size=rows // 2,
            num_hidden_layers=decoder["num_hidden_layers"], num_attention_heads=decoder["num_attention_heads"],
            num_key_value_heads=decoder["num_key_value_heads"], head_dim=size,
            max_position_embeddings=config["context_length"], rms_norm_eps=float(np.float32(epsilon)),
            rope_theta=float(f"{math.acos(cos[1, 1]) ** (-size / 2):.3g}"), tie_word_embeddings=True,
            bos_token_id=config["bos_token_id"], eos_token_id=config["eos_token_id"],
            pad_token_id=config["pad_token_id"],
        )
    )  # fmt: skip


def floats(graph, name: str) -> np.ndarray:
    from onnx import numpy_helper

    for tensor in graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor).astype(np.float32)
    raise UserError(f"no {name} in the graph; unpack reads what `slmd-model export` writes with --layout genai")


def product(graph, name: str):
    """The MatMulNBits whose weights are called `name`."""
    for node in graph.node:
        if node.op_type == "MatMulNBits" and node.input[1].startswith(name + "."):
            return node
    raise UserError(f"{name}: no MatMulNBits reads it; unpack reads 4- and 8-bit bundles of --layout genai, fused")


def matrix(graph, name: str) -> np.ndarray:
    """The floats [rows, columns] of a MatMulNBits."""
    from onnx import numpy_helper

    node = product(graph, name)
    sizes = {a.name: a.i for a in node.attribute}
    if len(node.input) > 3 and node.input[3]:
        raise UserError(f"{name}: has zero points (asymmetric, or k_quant); only weights without are unpacked")
    codes = numpy_helper.to_array(next(t for t in graph.initializer if t.name == node.input[1]))
    if sizes["bits"] == 4:
        codes = np.stack((codes & 15, codes >> 4), -1).reshape(*codes.shape[:-1], -1)
    scale = floats(graph, node.input[2]).reshape(*codes.shape[:2], 1)
    middle = 2 ** (sizes["bits"] - 1)
    return ((codes.astype(np.float32) - middle) * scale).reshape(len(codes), -1)[:, : sizes["K"]]


def embedding(graph) -> np.ndarray:
    """In floats where the bundle has them, else the head's codes, which the embedding shares."""
    head = matrix(graph, "lm_head.MatMul")
    if "model.embed_tokens.weight" not in {t.name for t in graph.initializer}:
        return head
    plain = floats(graph, "model.embed_tokens.weight")
    if plain.shape != head.shape or np.abs(plain - head).max() > 0.2 * np.abs(plain).max():
        raise UserError("the model has a head of its own; unpack is for models that share it with the embedding")
    return plain


def weights(graph, config: dict) -> dict[str, np.ndarray]:
    decoder = config["decoder"]
    layers, size = decoder["num_hidden_layers"], decoder["head_size"]
    queries, keys = decoder["num_attention_heads"] * size, decoder["num_key_value_heads"] * size
    found = {
        "model.embed_tokens.weight": embedding(graph),
        "model.norm.weight": floats(graph, f"model.layers.{layers}.final_norm_layernorm.weight"),
    }
    for n in range(layers):
        at = f"model.layers.{n}."
        q, k, v = np.split(matrix(graph, f"{at}attn.qkv_proj.MatMul"), [queries, queries + keys])
        gate, up = np.split(matrix(graph, f"{at}mlp.gate_up_proj.MatMul"), 2)
        found |= {
            f"{at}self_attn.q_proj.weight": q, f"{at}self_attn.k_proj.weight": k, f"{at}self_attn.v_proj.weight": v,
            f"{at}self_attn.o_proj.weight": matrix(graph, f"{at}attn.o_proj.MatMul"),
            f"{at}mlp.gate_proj.weight": gate, f"{at}mlp.up_proj.weight": up,
            f"{at}mlp.down_proj.weight": matrix(graph, f"{at}mlp.down_proj.MatMul"),
            f"{at}input_layernorm.weight": floats(graph, f"{at}input_layernorm.weight"),
            f"{at}post_attention_layernorm.weight": floats(graph, f"{at}post_attention_layernorm.weight"),
        }  # fmt: skip
    return {name: np.ascontiguousarray(value) for name, value in found.items()}
