"""Scales of an int8 KV cache: one per layer, head and channel, of keys and of values.

The model says what it keeps: it goes on from some prompts by itself, and the caches that
this leaves are measured (texts of its own are what data-free quantisation calibrates with:
Liu et al. 2023, LLM-QAT). A key is kept after its rotation, so what a channel may hold
depends on the position, and a low-frequency pair hardly turns within a short text. Hence
the largest value is not that of the texts, but that of their keys at any position of the
context. onnxruntime-genai's own tool takes the whole length of each pair instead (its
`k_rotary_envelope`): safe too, but up to 1.4 times too wide, for no position turns a slow
pair into its partner.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slmd_model.errors import UserError
from slmd_model.session import Decoder

CODES = 127  # the largest code; -128 is left out, so that both signs end at the same value
SMALLEST = 1e-6  # threshold of a channel that holds nothing but zeros
MARGIN = 1.1  # beyond what was seen: costs a tenth of the resolution, and other texts reach further
TEMPERATURE = 1.0


@dataclass(frozen=True)
class Rotation:
    """The angles of a graph's rotary tables, (positions, pairs), and the channels of each pair."""

    angles: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, cos: np.ndarray, sin: np.ndarray, interleaved: bool) -> "Rotation":
        pairs = np.arange(cos.shape[1])
        first, second = (2 * pairs, 2 * pairs + 1) if interleaved else (pairs, pairs + len(pairs))
        return cls(np.unwrap(np.arctan2(sin, cos), axis=0), first, second)


@dataclass(frozen=True)
class Scales:
    """Of one layer, (heads, channels) each."""

    keys: np.ndarray
    values: np.ndarray


def largest_cosine(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The largest |cos| of an angle between `low` and `high`."""
    passes_a_peak = np.floor(high / np.pi) >= np.ceil(low / np.pi)
    return np.where(passes_a_peak, 1.0, np.maximum(np.abs(np.cos(low)), np.abs(np.cos(high))))


def reach(keys: np.ndarray, rotation: Rotation) -> np.ndarray:
    """|keys| at the worst position of the context; `keys` is (heads, positions from 0 on, channels)."""
    angles = rotation.angles
    a, b = keys[..., rotation.first], keys[..., rotation.second]
    length, start = np.hypot(a, b), np.arctan2(b, a) - angles[: keys.shape[1]]
    low, high = start + angles.min(axis=0), start + angles.max(axis=0)
    worst = np.abs(keys)
    worst[..., rotation.first] = length * largest_cosine(low, high)
    worst[..., rotation.second] = length * largest_cosine(low - np.pi / 2, high - np.pi / 2)
    return worst


def own_texts(decoder: Decoder, prompts: list[list[int]], stops: frozenset[int], length: int, seed: int) -> Iterator:
    """Each prompt with what the model, sampled, says after it, up to `length` tokens; `decoder` holds the cache."""
    rng = np.random.default_rng(seed)
    for prompt in prompts:
        decoder.reset()
        logits, tokens = decoder.run(prompt[:length])[-1], prompt[:length]
        while len(tokens) < length:
            odds = np.exp((logits - logits.max()).astype(np.float64) / TEMPERATURE)
            token = int(rng.choice(len(odds), p=odds / odds.sum()))
            if token in stops:
                break
            tokens.append(token)
            logits = decoder.run([token])[-1]
        yield tokens


def calibrate(
    model: Path, prompts: list[list[int]], rotations: list[Rotation], stops: frozenset[int], length: int, seed: int = 0
) -> list[Scales]:
    """Scales of each layer of the float cache of `model`."""
    if not prompts:
        raise UserError("no text to calibrate the KV cache with (--kv-calibration FILE)", 64)
    decoder = Decoder(model)
    layers = [(np.float32(SMALLEST), np.float32(SMALLEST))] * len(rotations)
    for _ in own_texts(decoder, prompts, stops, length, seed):
        for n, rotation in enumerate(rotations):
            keys, values = (decoder.past[f"past_key_values.{n}.{side}"][0] for side in ("key", "value"))
            seen = reach(keys.astype(np.float32), rotation), np.abs(values.astype(np.float32))
            layers[n] = tuple(np.maximum(old, new.max(axis=1)) for old, new in zip(layers[n], seen, strict=True))
    if not all(np.isfinite(side).all() for layer in layers for side in layer):
        raise UserError(f"{model}: keys or values that are not finite, no scales for a KV cache in int8", 65)
    return [Scales(MARGIN * keys / CODES, MARGIN * values / CODES) for keys, values in layers]
