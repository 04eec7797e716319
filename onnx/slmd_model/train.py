"""`slmd-model train`: the default model from nothing, on one machine.

The loss covers the answers only. Weights are averaged over the last steps
(EMA), and the average is what is evaluated and written. An answer counts as
right when every token is: greedy decoding gives the wanted text exactly when
the best token is the wanted one at each position, so one forward pass tells.
"""

import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from slmd_model import default_tokenizer as words
from slmd_model.errors import UserError

SHAPE = {
    "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 32,
}  # fmt: skip
LOG_EVERY, SAVE_EVERY = 100, 500
EVALUATION_LINES = 6000


@dataclass(frozen=True)
class Settings:
    steps: int = 3_700
    tokens_per_batch: int = 4096
    learning_rate: float = 3e-3
    warmup: int = 300
    decay_from: float = 0.5  # share of the steps after which the rate falls to zero (cosine)
    weight_decay: float = 0.05
    ema: float = 0.998
    seed: int = 1


@dataclass(frozen=True)
class Examples:
    """Token ids of all lines, one after the other; line i is ids[ends[i-1]:ends[i]], its answer from answers[i]."""

    ids: np.ndarray
    ends: np.ndarray
    answers: np.ndarray

    def line(self, i: int) -> tuple[np.ndarray, int]:
        start = self.ends[i - 1] if i else 0
        return self.ids[start : self.ends[i]], int(self.answers[i] - start)

    def lengths(self) -> np.ndarray:
        return np.diff(self.ends, prepend=0)


def read_lines(path: Path) -> list[dict]:
    if not path.is_file():
        raise UserError(f"{path}: missing; make it with `slmd-model data`", 66)
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def encode(tokenizer, lines: list[dict]) -> Examples:
    rows, ends, starts, end = [], [], [], 0
    for at in range(0, len(lines), 2000):  # an Encoding object takes kilobytes
        part = lines[at : at + 2000]
        prompts = tokenizer.encode_batch_fast([words.render(line["task"], line["text"]) for line in part])
        answers = tokenizer.encode_batch_fast([line["answer"] + words.END for line in part])
        for prompt, answer in zip(prompts, answers, strict=True):
            row = (prompt.ids + answer.ids)[: words.CONTEXT]
            starts.append(end + len(prompt.ids))
            end += len(row)
            ends.append(end)
            rows.append(np.array(row, np.int16))
    return Examples(np.concatenate(rows), np.array(ends), np.array(starts))


def batches(examples: Examples, tokens: int, seed: int):
    """Endless batches of lines of like length; each pass over the data is shuffled anew."""
    r, lengths = random.Random(seed), examples.lengths()
    while True:
        order = list(range(len(lengths)))
        r.shuffle(order)
        groups = []
        for at in range(0, len(order), 20_000):
            chunk = sorted(order[at : at + 20_000], key=lambda i: lengths[i])
            group: list[int] = []
            for i in chunk:
                if group and (len(group) + 1) * lengths[i] > tokens:
                    groups.append(group)
                    group = []
                group.append(i)
            groups.append(group)
        r.shuffle(groups)
        yield from groups


def tensors(examples: Examples, group: list[int], pad: int, device: str):
    """(ids, wanted): padded ids [lines, width], and the next token where it belongs to an answer, else -100."""
    rows = [examples.line(i) for i in group]
    width = max(len(row) for row, _ in rows)
    ids = np.full((len(rows), width), pad, np.int64)
    wanted = np.full((len(rows), width), -100, np.int64)
    for k, (row, answer) in enumerate(rows):
        ids[k, : len(row)] = row
        wanted[k, answer - 1 : len(row) - 1] = row[answer:]
    return torch.from_numpy(ids).to(device), torch.from_numpy(wanted).to(device)


def answer_logits(model, ids, wanted):
    """(logits, targets, mask) at the answers' positions only, computed in bfloat16.

    The same equations as LlamaForCausalLM, spelled for a CPU: sentences are
    short, so attention is two plain products instead of the flash kernel
    (whose backward pass takes half of a step there), and nothing goes through
    autocast's copies.
    """
    config, half = model.config, torch.bfloat16
    heads, kv_heads, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    lines, width = ids.shape
    embed = model.model.embed_tokens.weight.to(half)
    cos, sin = rotary(width, size, config.rope_parameters["rope_theta"], ids.device)
    causal = torch.full((width, width), -1e4, dtype=half, device=ids.device).triu(1)

    def norm(x, layer):
        return F.rms_norm(x, (x.shape[-1],), layer.weight.to(half), config.rms_norm_eps)

    def by_head(x, count):
        return x.view(lines, width, count, size).transpose(1, 2)

    def rotate(x):
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    x = F.embedding(ids, embed)
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        qkv = F.linear(norm(x, layer.input_layernorm), torch.cat([p.weight for p in projections]).to(half))
        q, k, v = qkv.split([heads * size, kv_heads * size, kv_heads * size], -1)
        q = rotate(by_head(q, heads)).reshape(lines, kv_heads, -1, size)  # the heads of a group share keys
        k, v = rotate(by_head(k, kv_heads)), by_head(v, kv_heads)
        scores = (q @ k.transpose(-1, -2) * size**-0.5).view(lines, heads, width, width) + causal
        mixed = scores.softmax(-1).view(lines, kv_heads, -1, width) @ v
        mixed = mixed.view(lines, heads, width, size).transpose(1, 2).reshape(lines, width, heads * size)
        x = x + F.linear(mixed, attention.o_proj.weight.to(half))
        both = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)).to(half)
        gate, up = F.linear(norm(x, layer.post_attention_layernorm), both).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, mlp.down_proj.weight.to(half))
    at = wanted >= 0
    return F.linear(norm(x[at], model.model.norm), embed), wanted[at], at


def rotary(width: int, size: int, theta: float, device):
    """cos and sin [width, size / 2] in bfloat16."""
    inverse = theta ** (-torch.arange(0, size, 2, device=device, dtype=torch.float32) / size)
    angles = torch.outer(torch.arange(width, device=device, dtype=torch.float32), inverse)
    return angles.cos().bfloat16(), angles.sin().bfloat16()


def new_model(tokenizer) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=words.VOCABULARY, max_position_embeddings=words.CONTEXT, rms_norm_eps=1e-5, rope_theta=10_000.0,
        tie_word_embeddings=True, attention_bias=False, initializer_range=SHAPE["hidden_size"] ** -0.5,
        bos_token_id=tokenizer.token_to_id(words.SYSTEM), eos_token_id=tokenizer.token_to_id(words.END),
        pad_token_id=tokenizer.token_to_id(words.PAD), **SHAPE,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def rate(step: int, settings: Settings) -> float:
    """Learning rate: linear warm-up, flat, cosine to zero."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    start = settings.steps * settings.decay_from
    if step < start:
        return settings.learning_rate
    share = (step - start) / max(1, settings.steps - start)
    return settings.learning_rate * 0.5 * (1 + float(np.cos(np.pi * min(1, share))))


def evaluate(model, examples: Examples, lines: list[dict], pad: int, device: str, tokens: int = 16_384) -> dict:
    """Share of exactly right answers by source."""
    right: dict[str, list[int]] = {}
    order = sorted(range(len(lines)), key=lambda i: examples.lengths()[i])
    lengths = examples.lengths()
    at = 0
    while at < len(order):
        count = max(1, min(len(order) - at, tokens // int(lengths[order[min(at + 256, len(order) - 1)]])))
        group = order[at : at + count]
        at += count
        ids, wanted = tensors(examples, group, pad, device)
        with torch.inference_mode():
            logits, targets, where = answer_logits(model, ids, wanted)
        wrong = torch.zeros_like(where)
        wrong[where] = logits.argmax(-1) != targets
        for i, bad in zip(group, wrong.any(-1).tolist(), strict=True):
            right.setdefault(lines[i]["source"], []).append(not bad)
    return {source: round(sum(v) / len(v), 4) for source, v in sorted(right.items())}


class Run:
    """State of one training: saved as a whole, so that it can go on after a stop."""

    def __init__(self, data: Path, out: Path, settings: Settings, report=print) -> None:
        from tokenizers import Tokenizer

        self.out, self.settings, self.report = out, settings, report
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        lines = read_lines(data / "train.jsonl")
        self.held_lines = read_lines(data / "heldout.jsonl")[:EVALUATION_LINES]
        self.hf = out / "hf"
        if not (self.hf / "tokenizer.json").is_file():
            words.train((t for line in lines for t in (line["text"], line["answer"], line["task"])), self.hf)
        tokenizer = Tokenizer.from_file(str(self.hf / "tokenizer.json"))
        tokenizer.no_padding()
        self.pad = tokenizer.token_to_id(words.PAD)
        self.train_set, self.held_set = encode(tokenizer, lines), encode(tokenizer, self.held_lines)
        torch.manual_seed(settings.seed)
        self.model = new_model(tokenizer).to(self.device)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        decayed = [p for p in self.model.parameters() if p.dim() > 1]
        plain = [p for p in self.model.parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=settings.learning_rate, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip
        self.step, self.seconds = 0, 0.0
        self.checkpoint = out / "checkpoint.pt"
        if self.checkpoint.is_file():
            self.load()
        millions = sum(p.numel() for p in self.model.parameters()) / 1e6
        report(
            f"{millions:.2f} M parameters on {self.device}; {len(lines)} lines, "
            f"{len(self.train_set.ids) / 1e6:.1f} M tokens; from step {self.step} to {settings.steps}"
        )

    def load(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average,
            "step": self.step, "seconds": self.seconds,
        }  # fmt: skip
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.checkpoint)

    def log(self, **values) -> None:
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, "seconds": round(self.seconds), **values}) + "\n")
        self.report(" ".join(f"{k} {v}" for k, v in {"step": self.step, "s": round(self.seconds), **values}.items()))

    def advance(self, group: list[int]) -> float:
        for options in self.optimizer.param_groups:
            options["lr"] = rate(self.step, self.settings)
        ids, wanted = tensors(self.train_set, group, self.pad, self.device)
        logits, targets, _ = answer_logits(self.model, ids, wanted)
        loss = F.cross_entropy(logits.float(), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(self.settings.ema, self.step / (self.step + 10))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)
        return loss.item()

    def finish_part(self) -> None:
        """Evaluate the average, write it as a Hugging Face folder, save the state."""
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.log(exact=evaluate(self.model, self.held_set, self.held_lines, self.pad, self.device))
        self.model.save_pretrained(self.hf)
        self.model.load_state_dict(own)
        self.save()

    def run(self) -> None:
        stream = batches(self.train_set, self.settings.tokens_per_batch, self.settings.seed)
        for _ in range(self.step):  # the same order again after a resume
            next(stream)
        losses = []
        while self.step < self.settings.steps:
            begin = time.perf_counter()
            losses.append(self.advance(next(stream)))
            self.seconds += time.perf_counter() - begin
            if self.step % LOG_EVERY == 0:
                self.log(loss=round(float(np.mean(losses)), 4), rate=round(rate(self.step, self.settings), 6))
                losses = []
            if self.step % SAVE_EVERY == 0 or self.step == self.settings.steps:
                self.finish_part()


def train(data: Path, out: Path, settings: Settings) -> None:
    out.mkdir(parents=True, exist_ok=True)
    Run(data, out, settings, lambda text: print(text, flush=True)).run()
