"""What the exported model must answer: greedy tokens and logits of PyTorch in float32."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slmd_model.bundle import Golden
from slmd_model.errors import UserError

# Smallest gap between the two best fp32 logits for which a step counts as decided, by
# precision: quantisation noise on a tied head moves logits by about this much.
MARGIN = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.3, "int4": 1.0}
KV_MARGIN = 0.5  # at least this for an int8 KV cache, whatever the weights are
REFERENCE_FORMAT = "slmd-reference-logits-1"


@dataclass(frozen=True)
class Question:
    """A prompt as the daemon receives it, with its task if it has one."""

    prompt: str
    task: str | None = None


def read_questions(path: Path) -> tuple[Question, ...]:
    """One prompt a line, its task and a tab before it if it has one."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; it holds one prompt a line, perhaps TASK and a tab before it", 66)
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if not lines:
        raise UserError(f"{path}: no prompt in it; write one a line")
    return tuple(
        Question(prompt, task or None) if tab else Question(task)
        for task, tab, prompt in (line.partition("\t") for line in lines)
    )


def load_model(hf: Path):
    """The checkpoint in float32, ready for inference."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32).eval()


def load_tokenizer(hf: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(hf)


def encode(tokenizer, question: Question, system: str | None) -> list[int]:
    """Token ids of a prompt: through the chat template if there is one, else raw text."""
    if tokenizer.chat_template is None:
        return tokenizer(question.prompt)["input_ids"]
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question.prompt})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def stop_ids(model) -> set[int]:
    eos = model.generation_config.eos_token_id
    return set(eos if isinstance(eos, list) else [] if eos is None else [eos])


def greedy(model, prompt_ids: list[int], steps: int) -> tuple[list[int], list[float]]:
    """Greedy ids, and per step the gap of the two best logits. The stop token is not included."""
    import torch

    tokens, margins, past, feed = [], [], None, prompt_ids
    stops = stop_ids(model)
    with torch.inference_mode():
        for _ in range(steps):
            out = model(torch.tensor([feed]), past_key_values=past, use_cache=True)
            best = out.logits[0, -1].topk(2)
            margins.append(float(best.values[0] - best.values[1]))
            token = int(best.indices[0])
            if token in stops:
                break
            tokens.append(token)
            past, feed = out.past_key_values, [token]
    return tokens, margins


def record(hf: Path, questions: list[Question], systems: dict[str, str], steps: int, margin: float) -> list[Golden]:
    """Golden answers, each cut before its first step with a gap below `margin`."""
    model, tokenizer = load_model(hf), load_tokenizer(hf)
    golden = []
    for question in questions:
        ids = encode(tokenizer, question, systems.get(question.task or ""))
        tokens, margins = greedy(model, ids, steps)
        decided = next((i for i, gap in enumerate(margins) if gap < margin), len(tokens))
        tokens = tokens[:decided]
        if tokens:
            golden.append(Golden(question.prompt, tokens, decode_after(tokenizer, ids, tokens), question.task))
    return golden


def decode_after(tokenizer, prompt_ids: list[int], tokens: list[int]) -> str:
    """Text that `tokens` add to the prompt (a decoder may treat the first token differently)."""
    before = tokenizer.decode(prompt_ids, skip_special_tokens=True)
    return tokenizer.decode(prompt_ids + tokens, skip_special_tokens=True)[len(before) :]


def reference_logits(hf: Path, out: Path, tokens: int, seed: int) -> None:
    """Teacher-forced fp32 logits of a seeded sequence.

    OUT.json: {"format", "tokens": [ids], "positions": N, "vocab_size": V, "seed",
    "data": file name}. The data file OUT.f32 holds N x V little-endian float32,
    row major; row i is the prediction after tokens[0..=i].
    """
    import torch

    model = load_model(hf)
    vocab = model.config.vocab_size
    ids = np.random.default_rng(seed).integers(3, vocab, tokens).tolist()
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0].numpy().astype("<f4")
    data = out.with_suffix(".f32")
    data.write_bytes(logits.tobytes())
    header = {
        "format": REFERENCE_FORMAT, "data": data.name, "seed": seed,
        "positions": tokens, "vocab_size": vocab, "tokens": ids,
    }  # fmt: skip
    out.with_suffix(".json").write_text(json.dumps(header) + "\n")
