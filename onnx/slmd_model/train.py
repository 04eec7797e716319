"""`slmd-model train`: a Llama-style decoder of a few million parameters from nothing, on one machine.

The loss covers the answers only. Matrices are trained by Muon, the rest by
AdamW. Weights are averaged over the last steps (EMA), and the average is what
is compared and written. An answer counts as right when every token is: greedy
decoding gives the wanted text exactly when the best token is the wanted one
at each position, so one forward pass tells.
"""

import ctypes
import dataclasses
import hashlib
import json
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from slmd_model import default_tokenizer as words
from slmd_model.batches import Examples, encode, groups, read_lines, tell_left_out, tensors
from slmd_model.curve import plot
from slmd_model.errors import UserError
from slmd_model.forward import answer_logits
from slmd_model.muon import Muon

HEAD_DIM = 32
LOG_EVERY = 50
CHOOSE_LINES = 4000


@dataclass(frozen=True)
class Shape:
    hidden: int = 256
    layers: int = 5
    feed_forward: int = 640
    heads: int = 8
    kv_heads: int = 2
    vocabulary: int = words.VOCABULARY


@dataclass(frozen=True)
class Settings:
    steps: int = 4_000
    tokens_per_batch: int = 8192
    learning_rate: float = 3e-3
    warmup: int = 100
    decay_from: float = 0.6  # share of the steps after which the rate falls to zero (cosine)
    weight_decay: float = 0.05
    ema: float = 0.995
    save_every: int = 250
    seed: int = 1
    dropout: dict[str, float] = field(default_factory=dict)  # share by task; none where it is not named


def check_shape(shape: Shape) -> None:
    for name, size in dataclasses.asdict(shape).items():
        if size < 1:
            raise UserError(f"{name.replace('_', '-')} is {size}: at least 1 is needed", 64)
    if shape.heads % shape.kv_heads:
        raise UserError(f"heads is {shape.heads}: it must be a multiple of kv-heads, {shape.kv_heads}", 64)
    if shape.hidden % shape.heads:
        raise UserError(f"hidden is {shape.hidden}: it must be a multiple of heads, {shape.heads}", 64)


def new_model(tokenizer, shape: Shape) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=words.CONTEXT, rms_norm_eps=1e-5,
        rope_theta=10_000.0, tie_word_embeddings=True, attention_bias=False, initializer_range=shape.hidden**-0.5,
        hidden_size=shape.hidden, intermediate_size=shape.feed_forward, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, head_dim=HEAD_DIM,
        bos_token_id=tokenizer.token_to_id(words.SYSTEM), eos_token_id=tokenizer.token_to_id(words.END),
        pad_token_id=tokenizer.token_to_id(words.PAD),
    )  # fmt: skip
    return LlamaForCausalLM(config)


def begin_from(start: Path) -> LlamaForCausalLM:
    """The checkpoint `start`, which must be what `new_model` makes, in any size."""
    missing = [name for name in ("config.json", "model.safetensors", *words.FILES) if not (start / name).is_file()]
    if missing:
        raise UserError(f"{start}: no checkpoint, {missing[0]} is missing", 66)
    config = json.loads((start / "config.json").read_text(encoding="utf-8"))
    wanted = {"model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": True, "attention_bias": False}
    other = [name for name, value in wanted.items() if config.get(name) != value]
    if other or config.get("rope_parameters", {}).get("rope_type") != "default":
        name = other[0] if other else "rope_parameters"
        raise UserError(f"{start}: {name} is not as `train` makes it; for other models there is `finetune`")
    return LlamaForCausalLM.from_pretrained(start, dtype=torch.float32, local_files_only=True)


def copy_tokenizer(start: Path, hf: Path) -> None:
    hf.mkdir(parents=True, exist_ok=True)
    for name in words.FILES:
        shutil.copyfile(start / name, hf / name)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def random_state(device: str) -> dict[str, torch.Tensor]:
    """Where torch's random numbers are: dropout goes on from there."""
    cuda = {"cuda": torch.cuda.get_rng_state()} if device == "cuda" else {}
    return {"cpu": torch.get_rng_state()} | cuda


def set_random_state(state: dict[str, torch.Tensor], device: str) -> None:
    if "cpu" in state:
        torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and device == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu())


def keep_freed_memory() -> None:
    """Let glibc keep the large tensors' memory instead of mapping it anew: a sixth of the time of a step."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass  # another C library: slower, no less right


def optimizers(model, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""
    inner = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    outer = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    rate, decay = settings.learning_rate, settings.weight_decay
    return [
        Muon(inner, lr=rate, weight_decay=decay),
        torch.optim.AdamW(outer, lr=rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True),
    ]


def rate(step: int, settings: Settings) -> float:
    """Learning rate: linear warm-up, flat, cosine to zero."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    start = settings.steps * settings.decay_from
    if step < start:
        return settings.learning_rate
    share = (step - start) / max(1, settings.steps - start)
    return settings.learning_rate * 0.5 * (1 + float(np.cos(np.pi * min(1, share))))


def exact(model, examples, lines: list[dict], pad: int, device: str, tokens: int = 16_384) -> dict[str, float]:
    """Share of exactly right answers by source."""
    right: dict[str, list[bool]] = {}
    lengths = examples.lengths()
    order = sorted(range(len(lines)), key=lambda i: lengths[i])
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

    def __init__(
        self, data: Path, out: Path, shape: Shape, settings: Settings, tell=tqdm.write, start: Path | None = None
    ) -> None:
        """`start`: a checkpoint of the same architecture to begin from, with its tokenizer and shape."""
        from tokenizers import Tokenizer

        if not start:
            check_shape(shape)
        self.out, self.settings, self.tell = out, settings, tell
        self.stop = 0  # the signal to stop by after the step
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.data = data / "train.jsonl"
        lines = read_lines(self.data)
        self.digest = digest(self.data)
        unknown = set(settings.dropout) - {line["task"] for line in lines}
        if unknown:
            raise UserError(f"dropout of {min(unknown)}: {self.data} has no line of that task")
        for task, share in settings.dropout.items():
            if not 0 <= share < 1:
                raise UserError(f"dropout of {task} is {share}: it must be at least 0 and less than 1")
        self.lines = read_lines(data / "choose.jsonl") if (data / "choose.jsonl").is_file() else []
        random.Random(settings.seed).shuffle(self.lines)
        self.lines = self.lines[:CHOOSE_LINES]
        self.hf = out / "hf"
        begun = begin_from(start) if start else None
        if start and not (self.hf / "tokenizer.json").is_file():
            copy_tokenizer(start, self.hf)
        if not (self.hf / "tokenizer.json").is_file():
            tell("learning the vocabulary")
            texts = (text for line in lines for text in (line["text"], line["answer"], line["task"]))
            most = Counter(line["task"] for line in lines).most_common(1)[0][0]
            words.train(texts, self.hf, shape.vocabulary, most)
        tokenizer = Tokenizer.from_file(str(self.hf / "tokenizer.json"))
        tokenizer.no_padding()
        self.pad = tokenizer.token_to_id(words.PAD)
        self.examples, lines = self.encode(tokenizer, lines, self.data)
        self.dropout = torch.tensor([settings.dropout.get(line["task"], 0.0) for line in lines]).to(self.device)
        self.choose = None
        if self.lines:
            self.choose, self.lines = self.encode(tokenizer, self.lines, data / "choose.jsonl")
        torch.manual_seed(settings.seed)
        if begun and (begun.config.vocab_size != tokenizer.get_vocab_size() or self.pad is None):
            raise UserError(f"{self.hf}: its tokenizer is not that of {start}; take another RUN_DIR")
        self.model = (begun or new_model(tokenizer, shape)).to(self.device)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimizers = optimizers(self.model, settings)
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        (out / "log.jsonl").touch()
        self.checkpoint = out / "checkpoint.pt"
        if self.checkpoint.is_file():
            self.load()
        millions = sum(p.numel() for p in self.model.parameters()) / 1e6
        tell(
            f"{millions:.2f} M parameters on {self.device}; {len(lines)} lines, "
            f"{len(self.examples.ids) / 1e6:.1f} M tokens; from step {self.step} to {settings.steps}"
        )

    def encode(self, tokenizer, lines: list[dict], path: Path) -> tuple[Examples, list[dict]]:
        """The lines of `path` that the context holds."""
        examples = encode(tokenizer, lines)
        tell_left_out(path, len(lines), len(examples.kept), words.CONTEXT, self.tell)
        return examples, [lines[i] for i in examples.kept]

    def load(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError:
            raise UserError(f"{self.checkpoint}: of another shape; give the same one, or another folder") from None
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.average, self.step = state["average"], state["step"]
        self.seconds, self.tokens = state["seconds"], state["tokens"]
        set_random_state(state.get("random", {}), self.device)  # older checkpoints lack both
        if state.get("digest", self.digest) != self.digest:
            self.tell(f"note: {self.data} is not what {self.checkpoint} was trained on; it goes on with the new lines")
        self.forget_later()

    def forget_later(self) -> None:
        """Drop what the log says of steps after the last save: they will come again."""
        log = self.out / "log.jsonl"
        kept = [line for line in log.read_text().splitlines() if json.loads(line)["step"] <= self.step]
        log.write_text("".join(line + "\n" for line in kept))

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
            "average": self.average, "step": self.step, "seconds": self.seconds, "tokens": self.tokens,
            "random": random_state(self.device), "digest": self.digest,
        }  # fmt: skip
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.checkpoint)

    def log(self, **values) -> None:
        found = {"step": self.step, "seconds": round(self.seconds), "tokens": self.tokens, **values}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(found) + "\n")
        self.tell(" ".join(f"{k} {v}" for k, v in found.items()))

    def advance(self, group: list[int]) -> float:
        for optimizer in self.optimizers:
            for options in optimizer.param_groups:
                options["lr"] = rate(self.step, self.settings)
        ids, wanted = tensors(self.examples, group, self.pad, self.device)
        dropout = self.dropout[group] if self.settings.dropout else None
        logits, targets, _ = answer_logits(self.model, ids, wanted, dropout)
        loss = F.cross_entropy(logits.float(), targets)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.tokens += ids.numel()
        keep = min(self.settings.ema, self.step / (self.step + 10))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)
        return loss.item()

    def finish_part(self) -> None:
        """Compare the average, write it as a Hugging Face folder, save the state, draw the curve."""
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        if self.choose:
            self.log(exact=exact(self.model, self.choose, self.lines, self.pad, self.device))
        self.model.save_pretrained(self.hf)
        self.model.load_state_dict(own)
        self.save()
        plot(self.out / "log.jsonl", self.out / "loss.png")

    def run(self) -> None:
        settings = self.settings
        stream = groups(self.examples, settings.tokens_per_batch, settings.seed)
        for _ in range(self.step):  # the same order again after a stop
            next(stream)
        losses: list[float] = []
        with tqdm(total=settings.steps, initial=self.step, unit="step", mininterval=2.0) as bar:
            while self.step < settings.steps:
                begin = time.perf_counter()
                losses.append(self.advance(next(stream)))
                self.seconds += time.perf_counter() - begin
                bar.update()
                if self.step % LOG_EVERY == 0:
                    mean = round(float(np.mean(losses)), 4)
                    self.log(loss=mean, rate=round(rate(self.step, settings), 6))
                    bar.set_postfix(loss=mean)
                    losses = []
                stop = self.stop  # read once: a signal while saving is for the next step
                if self.step % settings.save_every == 0 or self.step == settings.steps:
                    self.finish_part()
                elif stop:
                    self.save()
                if stop and self.step < settings.steps:
                    raise UserError(f"stopped at step {self.step}; the same command goes on", 128 + stop)


@contextmanager
def stopped_by_signals(run: Run) -> Iterator[None]:
    """Meanwhile Ctrl-C and SIGTERM end the run after its step; what is ignored (nohup, &) stays so."""

    def stop(number: int, frame) -> None:
        run.stop = number

    heard = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(data: Path, out: Path, shape: Shape, settings: Settings, start: Path | None = None) -> None:
    keep_freed_memory()
    out.mkdir(parents=True, exist_ok=True)
    run = Run(data, out, shape, settings, start=start)
    with (out / "settings.jsonl").open("a") as file:
        origin = {"start": str(start)} if start else {"shape": dataclasses.asdict(shape)}
        made = {"from": run.step, **origin, "settings": dataclasses.asdict(settings)}
        file.write(json.dumps(made) + "\n")
    with stopped_by_signals(run):
        run.run()
