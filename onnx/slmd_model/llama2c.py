"""llama2.c's legacy checkpoint and tokenizer, turned into a Hugging Face folder.

Source of both formats: https://github.com/karpathy/llama2.c (`run.c`,
`export.py`, `tokenizer.py`; MIT).
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slmd_model.errors import UserError

BOS, EOS, UNK = 1, 2, 0
FIRST_BYTE_TOKEN = 3
ROPE_THETA = 10_000.0
RMS_EPS = 1e-5
HEAD_MULTIPLE = 16  # ONNX Runtime's GroupQueryAttention refuses rotary heads of other sizes


@dataclass(frozen=True)
class Shape:
    """The checkpoint's header, in tokens and channels."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int
    tied: bool

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


def read_checkpoint(path: Path) -> tuple[Shape, dict[str, np.ndarray]]:
    """Header and weights of a legacy `.bin` file; matrices are (out, in), float32."""
    raw = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack_from("<7i", raw)
    shape = Shape(dim, hidden, layers, heads, kv_heads, abs(vocab), context, tied=vocab > 0)
    kv_dim = shape.head_dim * kv_heads
    floats = np.frombuffer(raw, "<f4", offset=28)
    layout = {
        "embed": (shape.vocab, dim),
        "attention_norm": (layers, dim),
        "wq": (layers, dim, dim),
        "wk": (layers, kv_dim, dim),
        "wv": (layers, kv_dim, dim),
        "wo": (layers, dim, dim),
        "ffn_norm": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "norm": (dim,),
        "rope_cos_sin": (context, shape.head_dim),  # two tables, both recomputed at run time
    }
    if not shape.tied:
        layout["head"] = (shape.vocab, dim)
    weights, at = {}, 0
    for name, dims in layout.items():
        count = int(np.prod(dims))
        weights[name] = floats[at : at + count].reshape(dims)
        at += count
    if at != floats.size:
        raise UserError(f"{path}: {floats.size} floats, the header asks for {at}")
    del weights["rope_cos_sin"]
    return shape, weights


def read_vocabulary(path: Path, size: int) -> list[tuple[bytes, float]]:
    """(piece, score) per token id of a `tokN.bin` file."""
    raw = path.read_bytes()
    at, pieces = 4, []
    for _ in range(size):
        score, length = struct.unpack_from("<fi", raw, at)
        pieces.append((raw[at + 8 : at + 8 + length], score))
        at += 8 + length
    if at != len(raw):
        raise UserError(f"{path}: {len(raw) - at} bytes left after {size} tokens")
    return pieces


def stretch(head_dim: int) -> int:
    """How many times wider a head becomes: the least factor that gives a multiple of 16."""
    return HEAD_MULTIPLE // math.gcd(head_dim, HEAD_MULTIPLE)


def widen_rotary(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of wq or wk for heads that are `stretch` times wider, zeros between.

    llama2.c rotates the pairs (2j, 2j+1) of a head of d channels by
    theta^(-2j/d); Hugging Face rotates (i, i + D/2) of D channels by
    theta^(-2i/D). With D = m d, i = m j has the same angle: exact.
    """
    out, into = matrix.shape
    d = out // heads
    factor = stretch(d)
    pairs = matrix.reshape(heads, d // 2, 2, into)
    wide = np.zeros((heads, 2, factor * d // 2, into), np.float32)
    wide[:, :, ::factor] = pairs.swapaxes(1, 2)
    return wide.reshape(factor * out, into)


def widen_plain(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of wv for wider heads: zeros after the d channels of each head."""
    out, into = matrix.shape
    d = out // heads
    wide = np.zeros((heads, stretch(d) * d, into), np.float32)
    wide[:, :d] = matrix.reshape(heads, d, into)
    return wide.reshape(-1, into)


def tokenizer_json(pieces: list[tuple[bytes, float]]) -> dict:
    """A `tokenizer.json` that encodes as run.c does.

    run.c merges, again and again, the neighbouring pair whose joined piece has
    the best score (the leftmost of equals). The rank of a merge is thus the
    rank of its result.
    """
    text = {i: piece.decode("utf-8") for i, (piece, _) in enumerate(pieces)}
    text.update({UNK: "<unk>", BOS: "<s>", EOS: "</s>"})
    vocab = {piece: i for i, piece in text.items()}
    ordinary = range(FIRST_BYTE_TOKEN + 256, len(pieces))
    merges = []
    for i in sorted((i for i in ordinary if len(text[i]) > 1), key=lambda i: (-pieces[i][1], i)):
        whole = text[i]
        splits = ((whole[:at], whole[at:]) for at in range(1, len(whole)))
        merges += [[a, b] for a, b in splits if a in vocab and b in vocab]
    special = [
        {"id": i, "content": text[i], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i in (UNK, BOS, EOS)
    ]  # fmt: skip
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Prepend", "prepend": " "},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": True, "ignore_merges": False,
            "vocab": vocab, "merges": merges,
        },
    }  # fmt: skip


def write_tokenizer(pieces: list[tuple[bytes, float]], context: int, out: Path) -> None:
    """tokenizer.json, tokenizer_config.json and special_tokens_map.json, without a chat template."""
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context,
        "clean_up_tokenization_spaces": False, "add_bos_token": True, "add_eos_token": False, **special,
    }  # fmt: skip
    for name, content in (
        ("tokenizer.json", tokenizer_json(pieces)),
        ("tokenizer_config.json", config),
        ("special_tokens_map.json", special),
    ):
        (out / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_checkpoint(shape: Shape, weights: dict[str, np.ndarray], out: Path) -> None:
    """A LlamaForCausalLM folder (float32)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    factor = stretch(shape.head_dim)
    config = LlamaConfig(
        head_dim=factor * shape.head_dim, hidden_size=shape.dim, intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocab, max_position_embeddings=shape.context, rms_norm_eps=RMS_EPS, rope_theta=ROPE_THETA,
        tie_word_embeddings=shape.tied, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    state = {"model.embed_tokens.weight": weights["embed"], "model.norm.weight": weights["norm"]}
    state["lm_head.weight"] = weights["embed"] if shape.tied else weights["head"]
    q_scale = np.float32(math.sqrt(factor))  # attention divides by the root of the wider head
    for i in range(shape.layers):
        layer = f"model.layers.{i}."
        state |= {
            layer + "input_layernorm.weight": weights["attention_norm"][i],
            layer + "self_attn.q_proj.weight": q_scale * widen_rotary(weights["wq"][i], shape.heads),
            layer + "self_attn.k_proj.weight": widen_rotary(weights["wk"][i], shape.kv_heads),
            layer + "self_attn.v_proj.weight": widen_plain(weights["wv"][i], shape.kv_heads),
            layer + "self_attn.o_proj.weight": widen_plain(weights["wo"][i].T, shape.heads).T,
            layer + "post_attention_layernorm.weight": weights["ffn_norm"][i],
            layer + "mlp.gate_proj.weight": weights["w1"][i],
            layer + "mlp.down_proj.weight": weights["w2"][i],
            layer + "mlp.up_proj.weight": weights["w3"][i],
        }
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    model.save_pretrained(out)


def convert(source: Path, out: Path) -> None:
    """Read SOURCE/*.bin (checkpoint and tokN.bin) and write a Hugging Face folder."""
    tokenizers = sorted(source.glob("tok*.bin"))
    checkpoints = sorted(set(source.glob("*.bin")) - set(tokenizers))
    if len(tokenizers) != 1 or len(checkpoints) != 1:
        raise UserError(f"{source}: needs one checkpoint .bin and one tok*.bin", 66)
    shape, weights = read_checkpoint(checkpoints[0])
    out.mkdir(parents=True, exist_ok=True)
    write_checkpoint(shape, weights, out)
    write_tokenizer(read_vocabulary(tokenizers[0], shape.vocab), shape.context, out)
