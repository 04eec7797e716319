#!/usr/bin/env python3
"""An independent reference for llama2.c models: numpy and the equations, nothing else.

Written from the architecture (RMSNorm eps 1e-5, rotary embedding theta 10000 on
interleaved pairs, grouped-query attention, SwiGLU, a head tied to the
embedding) and from run.c's tokenizer, to check the converted ONNX bundles.
It shares no code with `slmd_model`.

    python llama2c.py SRC_DIR --prompt "Once upon" --steps 50 --json

SRC_DIR holds the checkpoint (`*.bin`) and its tokenizer (`tok*.bin`).
`--steps` counts positions as run.c does: the prompt's tokens, BOS included,
and the new ones together. It stops early at BOS (run.c's end mark) or EOS.
"""

import argparse
import json
import struct
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np


class Tokenizer:
    """run.c's `encode` and `decode`."""

    def __init__(self, path: Path, size: int) -> None:
        raw, at = path.read_bytes(), 4
        self.pieces: list[bytes] = []
        self.scores: list[float] = []
        for _ in range(size):
            score, length = struct.unpack_from("<fi", raw, at)
            self.pieces.append(raw[at + 8 : at + 8 + length])
            self.scores.append(score)
            at += 8 + length
        self.ids = {piece: i for i, piece in enumerate(self.pieces)}

    def encode(self, text: str) -> list[int]:
        """Token ids with BOS; a space goes before a text that is not empty."""
        tokens = [1]
        if text:
            tokens.append(self.ids[b" "])
        for char in text:
            data = char.encode()
            tokens += [self.ids[data]] if data in self.ids else [byte + 3 for byte in data]
        while True:
            best, where = -1e10, -1
            for i in range(len(tokens) - 1):
                joined = self.ids.get(self.pieces[tokens[i]] + self.pieces[tokens[i + 1]])
                if joined is not None and self.scores[joined] > best:
                    best, where = self.scores[joined], i
            if where < 0:
                return tokens
            joined = self.ids[self.pieces[tokens[where]] + self.pieces[tokens[where + 1]]]
            tokens[where : where + 2] = [joined]

    def piece(self, previous: int, token: int) -> bytes:
        """The bytes a token stands for: byte tokens raw, no space right after BOS."""
        if 3 <= token < 259:
            return bytes([token - 3])
        data = self.pieces[token]
        return data[1:] if previous == 1 and data.startswith(b" ") else data


class Model:
    """One sequence, one token at a time, all in float32."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack_from("<7i", raw)
        self.layers, self.heads, self.kv_heads, self.context = layers, heads, kv_heads, context
        self.vocab, self.head_dim = abs(vocab), dim // heads
        kv_dim = kv_heads * self.head_dim
        values, at = np.frombuffer(raw, "<f4", offset=28), 0

        def take(*shape: int) -> np.ndarray:
            nonlocal at
            count = int(np.prod(shape))
            at += count
            return values[at - count : at].reshape(shape)

        self.embed = take(self.vocab, dim)
        self.attention_norm = take(layers, dim)
        self.wq, self.wk = take(layers, dim, dim), take(layers, kv_dim, dim)
        self.wv, self.wo = take(layers, kv_dim, dim), take(layers, dim, dim)
        self.ffn_norm = take(layers, dim)
        self.w1, self.w2, self.w3 = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)
        self.norm = take(dim)
        take(context, self.head_dim)  # rotary tables of old exporters
        self.head = self.embed if vocab > 0 else take(self.vocab, dim)
        self.keys = np.zeros((layers, context, kv_heads, self.head_dim), np.float32)
        self.values = np.zeros_like(self.keys)

    @staticmethod
    def rms_norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return weight * (x / np.sqrt(np.mean(x * x) + np.float32(1e-5)))

    def rotate(self, x: np.ndarray, pos: int) -> np.ndarray:
        """Rotary embedding of (heads, head_dim) on the pairs (0,1), (2,3), ..."""
        angle = pos / 10_000.0 ** (np.arange(0, self.head_dim, 2) / self.head_dim)
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        even, odd = x[:, 0::2], x[:, 1::2]
        out = np.empty_like(x)
        out[:, 0::2], out[:, 1::2] = even * cos - odd * sin, even * sin + odd * cos
        return out

    def attend(self, layer: int, x: np.ndarray, pos: int) -> np.ndarray:
        q = self.rotate((self.wq[layer] @ x).reshape(self.heads, self.head_dim), pos)
        k = (self.wk[layer] @ x).reshape(self.kv_heads, self.head_dim)
        self.keys[layer, pos] = self.rotate(k, pos)
        self.values[layer, pos] = (self.wv[layer] @ x).reshape(self.kv_heads, self.head_dim)
        out = np.empty_like(q)
        for head in range(self.heads):
            shared = head * self.kv_heads // self.heads
            scores = self.keys[layer, : pos + 1, shared] @ q[head] / np.sqrt(np.float32(self.head_dim))
            weights = np.exp(scores - scores.max())
            out[head] = (weights / weights.sum()) @ self.values[layer, : pos + 1, shared]
        return self.wo[layer] @ out.reshape(-1)

    def feed_forward(self, layer: int, x: np.ndarray) -> np.ndarray:
        gate = self.w1[layer] @ x
        return self.w2[layer] @ (gate / (1 + np.exp(-gate)) * (self.w3[layer] @ x))

    def logits(self, token: int, pos: int) -> np.ndarray:
        """Logits (vocab,) after `token` at position `pos`; fills the cache at `pos`."""
        x = self.embed[token].copy()
        for layer in range(self.layers):
            x = x + self.attend(layer, self.rms_norm(x, self.attention_norm[layer]), pos)
            x = x + self.feed_forward(layer, self.rms_norm(x, self.ffn_norm[layer]))
        return self.head @ self.rms_norm(x, self.norm)


def generate(model: Model, tokenizer: Tokenizer, prompt: str, steps: int) -> dict:
    """Greedy generation; `margin` is the smallest gap between the two best logits."""
    tokens = tokenizer.encode(prompt)
    given, margin, stop = len(tokens), float("inf"), "length"
    if given > min(steps, model.context):
        raise ValueError(f"the prompt has {given} tokens, {min(steps, model.context)} positions allowed")
    for pos in range(min(steps, model.context)):
        logits = model.logits(tokens[pos], pos)
        if pos + 1 < len(tokens):
            continue
        token = int(logits.argmax())
        if token in (1, 2):
            stop = "stop"
            break
        first, second = np.partition(logits, -2)[[-1, -2]]
        margin = min(margin, float(first - second))
        tokens.append(token)
    pieces = [tokenizer.piece(a, b) for a, b in pairwise(tokens)]
    return {
        "prompt_tokens": tokens[:given],
        "tokens": tokens[given:],
        "text": b"".join(pieces),
        "continuation": b"".join(pieces[given - 1 :]),
        "stop": stop,
        "smallest_margin": margin,
    }


def as_json(result: dict) -> str:
    """JSON in which byte strings are text, with undecodable bytes as lone surrogates (U+DC80..)."""
    decode = {k: v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for k, v in result.items()}
    return json.dumps(decode)


def load(folder: Path) -> tuple[Model, Tokenizer]:
    tokenizer_file = next(iter(sorted(folder.glob("tok*.bin"))), None)
    model_file = next((p for p in sorted(folder.glob("*.bin")) if p != tokenizer_file), None)
    if tokenizer_file is None or model_file is None:
        raise FileNotFoundError(f"{folder}: needs a checkpoint .bin and a tok*.bin")
    model = Model(model_file)
    return model, Tokenizer(tokenizer_file, model.vocab)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SRC_DIR")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--steps", type=int, default=200, help="positions in all, as run.c's -n (default 200)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    args = parser.parse_args()
    try:
        model, tokenizer = load(args.source)
        result = generate(model, tokenizer, args.prompt, args.steps)
    except (OSError, ValueError) as error:
        print(f"llama2c.py: {error}", file=sys.stderr)
        return 65
    if args.json:
        print(as_json(result))
    else:
        print(*result["prompt_tokens"], "|", *result["tokens"])
        sys.stdout.flush()
        sys.stdout.buffer.write(result["text"] + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
