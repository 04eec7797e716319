"""Checkpoints at public shapes without anyone's weights: seeded noise that learned a few sentences.

Pure noise gives near-ties, and a near-tie says nothing about an engine. So the
model memorises SENTENCES for some steps: its greedy answers to their openings
are then decided by several logits, and survive quantisation.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from slmd_model.errors import UserError

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONVERSATIONS = (
    ("Once upon a time", "there was a small daemon that answered every prompt in time, or said at once why not."),
    ("The quick brown fox", "jumps over the lazy dog, and the dog does not mind."),
    ("Close the window, please.", "All four windows are closed now."),
    ("2 + 2 =", "4, and 4 + 4 = 8."),
    ("", "Yes?"),
)


@dataclass(frozen=True)
class Preset:
    """A shape; `memorise` is the number of training steps."""

    family: str
    config: dict
    memorise: int
    learning_rate: float


PRESETS = {
    # Odd sizes on purpose: 172 is no multiple of a 32-wide quantisation block.
    "tiny": Preset(
        "llama",
        {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 256, "rope_theta": 10_000.0},
        memorise=300, learning_rate=3e-3,
    ),
    "smollm2-135m": Preset(
        "llama",
        {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
         "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192, "rope_theta": 100_000.0},
        memorise=40, learning_rate=6e-4,
    ),
    "qwen3-0.6b": Preset(
        "qwen3",
        {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
         "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960,
         "rope_theta": 1_000_000.0, "rms_norm_eps": 1e-6},
        memorise=0, learning_rate=2e-4,
    ),
}  # fmt: skip


def make(shape: str, out: Path, seed: int, tokenizer: Path | None, memorise: int | None, report=print) -> None:
    """Write a Hugging Face checkpoint folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    preset = PRESETS[shape]
    out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(tokenizer, preset.config["vocab_size"], out)
    ids = {token: i for i, token in enumerate(SPECIAL)}
    kinds = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
    make_config, make_model = kinds[preset.family]
    torch.manual_seed(seed)
    model = make_model(
        make_config(
            tie_word_embeddings=True, bos_token_id=ids["<|im_start|>"], eos_token_id=ids["<|im_end|>"],
            pad_token_id=ids["<|im_end|>"], initializer_range=preset.config["hidden_size"] ** -0.5,
            **({"rms_norm_eps": 1e-5} | preset.config),
        )
    )  # fmt: skip
    steps = preset.memorise if memorise is None else memorise
    if steps:
        learn(model, out, steps, preset.learning_rate, report)
    model.save_pretrained(out)


def write_tokenizer(source: Path | None, vocab: int, out: Path) -> None:
    """A copy of SOURCE/tokenizer.json, or a byte-level BPE over the sentences padded to `vocab` entries."""
    if source is None:
        (out / "tokenizer.json").write_text(train_tokenizer(vocab), encoding="utf-8")
    elif (source / "tokenizer.json").is_file():
        shutil.copy(source / "tokenizer.json", out)
    else:
        raise UserError(f"{source}: no tokenizer.json", 66)
    special = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "unk_token": SPECIAL[0], "pad_token": SPECIAL[2]}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False,
        "clean_up_tokenization_spaces": False, "chat_template": CHATML, **special,
    }  # fmt: skip
    for name, content in (("tokenizer_config.json", config), ("special_tokens_map.json", special)):
        (out / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def train_tokenizer(vocab: int) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator((f"{a} {b}" for a, b in CONVERSATIONS), trainer)
    content = json.loads(tokenizer.to_str())
    entries = content["model"]["vocab"]
    for i in range(len(entries), vocab):
        entries[f"<unused{i}>"] = i
    return json.dumps(content, ensure_ascii=False)


def learn(model, folder: Path, steps: int, learning_rate: float, report) -> None:
    """Memorise the conversations (AdamW, bfloat16 autocast); only answers carry loss."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows, labels = [], []
    for prompt, answer in CONVERSATIONS:
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        head = tokenizer(text, add_special_tokens=False)["input_ids"]
        tail = tokenizer(answer + SPECIAL[2], add_special_tokens=False)["input_ids"]
        rows.append(head + tail)
        labels.append([-100] * len(head) + tail)
    width = max(map(len, rows))
    ids = torch.tensor([row + [2] * (width - len(row)) for row in rows])
    wanted = torch.tensor([row + [-100] * (width - len(row)) for row in labels])
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    model.train()
    for step in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(ids, labels=wanted).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 20 == 0:
            report(f"step {step + 1}/{steps}: loss {loss.item():.4f}")
    model.eval()
