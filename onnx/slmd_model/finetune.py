"""`slmd-model finetune`: LoRA of a local Hugging Face checkpoint on JSON-lines tasks, merged into its weights.

Prompts are rendered by the checkpoint's chat template, the task's name as the
system message, so that a bundle of the result is asked the way it learned. A
checkpoint without a template sees the plain text. The loss covers the answers.
"""

import json
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from tqdm import tqdm

from slmd_model import golden
from slmd_model.batches import read_lines, tell_left_out
from slmd_model.curve import plot
from slmd_model.errors import UserError
from slmd_model.forward import work_type
from slmd_model.golden import Question

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
LOG_EVERY = 10


@dataclass(frozen=True)
class Settings:
    steps: int = 500
    lines_per_batch: int = 8
    learning_rate: float = 2e-4
    warmup: int = 20
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    max_tokens: int = 1024
    seed: int = 1


def open_checkpoint(hf: Path):
    """(model in float32, tokenizer) of a local folder."""
    for names in (("config.json",), WEIGHTS, ("tokenizer.json",)):
        if not any((hf / name).is_file() for name in names):
            raise UserError(f"{hf}: no Hugging Face checkpoint ({names[0]} is missing); nothing is downloaded", 66)
    try:
        model, tokenizer = golden.load_model(hf), golden.load_tokenizer(hf)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{hf}: not a checkpoint that can be read: {reason}") from None
    if tokenizer.eos_token_id is None:
        raise UserError(f"{hf}: its tokenizer has no eos_token, which is to end an answer")
    return model, tokenizer


def encode(tokenizer, line: dict) -> tuple[list[int], int]:
    """(ids of prompt and answer, length of the prompt)."""
    prompt = golden.encode(tokenizer, Question(line["text"], line["task"]), line["task"])
    end = [] if line.get("open") else [tokenizer.eos_token_id]
    answer = tokenizer(line["answer"], add_special_tokens=False)["input_ids"] + end
    return prompt + answer, len(prompt)


def fitting(tokenizer, lines: list[dict], path: Path, limit: int, tell) -> list[tuple[list[int], int]]:
    """The lines of `path` that have at most `limit` tokens, encoded: cut, they would teach answers without ends."""
    rows = [encode(tokenizer, line) for line in lines]
    kept = [row for row in rows if len(row[0]) <= limit]
    tell_left_out(path, len(rows), len(kept), limit, tell)
    return kept


def batches(rows: list[tuple[list[int], int]], settings: Settings) -> Iterator[dict]:
    """Endless batches, padded at the right."""
    r = random.Random(settings.seed)
    while True:
        order = list(range(len(rows)))
        r.shuffle(order)
        for at in range(0, len(order), settings.lines_per_batch):
            yield padded([rows[i] for i in order[at : at + settings.lines_per_batch]])


def padded(rows: list[tuple[list[int], int]]) -> dict:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for k, (row, prompt) in enumerate(rows):
        ids[k, : len(row)] = torch.tensor(row)
        labels[k, prompt : len(row)] = torch.tensor(row[prompt:])
        mask[k, : len(row)] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def with_adapter(model, settings: Settings):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, config)


def rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then linear to zero."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    return settings.learning_rate * (settings.steps - step) / max(1, settings.steps - settings.warmup)


def precision(device: str) -> torch.autocast:
    """bfloat16 where the machine multiplies it, as in `train`."""
    return torch.autocast(device, torch.bfloat16, enabled=work_type(device) == torch.bfloat16)


def finetune(hf: Path, data: Path, out: Path, settings: Settings, tell=tqdm.write) -> None:
    """Write OUT/hf (merged, float32), OUT/log.jsonl and OUT/loss.png."""
    torch.manual_seed(settings.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lines = read_lines(data)
    model, tokenizer = open_checkpoint(hf)
    rows = fitting(tokenizer, lines, data, settings.max_tokens, tell)
    model = with_adapter(model, settings).to(device).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    tell(f"{sum(p.numel() for p in trained) / 1e6:.2f} M parameters of the adapter on {device}; {len(rows)} lines")
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.0)
    out.mkdir(parents=True, exist_ok=True)
    log, begin, stream, total = out / "log.jsonl", time.perf_counter(), batches(rows, settings), 0.0
    log.write_text("")
    bar = tqdm(range(settings.steps), unit="step")
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, settings)
        batch = {name: value.to(device) for name, value in next(stream).items()}
        with precision(device):
            loss = model(**batch).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        total += loss.item()
        if (step + 1) % LOG_EVERY == 0 or step + 1 == settings.steps:
            seen = LOG_EVERY if (step + 1) % LOG_EVERY == 0 else settings.steps % LOG_EVERY
            values = {"step": step + 1, "seconds": round(time.perf_counter() - begin), "loss": round(total / seen, 4)}
            total = 0.0
            bar.set_postfix(loss=values["loss"])
            with log.open("a") as file:
                file.write(json.dumps(values) + "\n")
    save(model.merge_and_unload(), hf, out / "hf")
    plot(log, out / "loss.png")
    tell(f"{out / 'hf'}: merged; export it with slmd-model export")


def save(model, hf: Path, out: Path) -> None:
    model.float().save_pretrained(out)
    for name in TOKENIZER_FILES:
        if (hf / name).is_file():
            shutil.copy(hf / name, out / name)
