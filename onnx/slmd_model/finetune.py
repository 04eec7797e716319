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
from tqdm import tqdm

from slmd_model import golden
from slmd_model.batches import read_lines
from slmd_model.curve import plot
from slmd_model.errors import UserError
from slmd_model.golden import Question

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
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
    if not (hf / "config.json").is_file():
        raise UserError(f"{hf}: no Hugging Face checkpoint (config.json is missing); nothing is downloaded", 66)
    return golden.load_model(hf), golden.load_tokenizer(hf)


def encode(tokenizer, line: dict, limit: int) -> tuple[list[int], int]:
    """(ids of prompt and answer, length of the prompt)."""
    prompt = golden.encode(tokenizer, Question(line["text"], line["task"]), line["task"])
    end = [] if line.get("open") else [tokenizer.eos_token_id]
    answer = tokenizer(line["answer"], add_special_tokens=False)["input_ids"] + end
    return (prompt + answer)[:limit], len(prompt)


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


def finetune(hf: Path, data: Path, out: Path, settings: Settings, tell=tqdm.write) -> None:
    """Write OUT/hf (merged, float32), OUT/log.jsonl and OUT/loss.png."""
    torch.manual_seed(settings.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lines = read_lines(data)
    model, tokenizer = open_checkpoint(hf)
    rows = [encode(tokenizer, line, settings.max_tokens) for line in lines]
    model = with_adapter(model, settings).to(device).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    tell(f"{sum(p.numel() for p in trained) / 1e6:.2f} M parameters of the adapter on {device}; {len(lines)} lines")
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.0)
    out.mkdir(parents=True, exist_ok=True)
    log, begin, stream, total = out / "log.jsonl", time.perf_counter(), batches(rows, settings), 0.0
    log.write_text("")
    for step in tqdm(range(settings.steps), unit="step"):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, settings)
        batch = {name: value.to(device) for name, value in next(stream).items()}
        with torch.autocast(device, torch.bfloat16):
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
