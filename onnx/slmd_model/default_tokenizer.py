"""The default model's tokenizer: byte-level BPE whose words suit short JSON answers.

A VSS path and a JSON key with its punctuation are one word each, so that BPE
learns them as one token; digits stand alone, so that numbers can be copied.
"""

import json
from collections.abc import Iterable
from pathlib import Path

END, SYSTEM, USER, ASSISTANT, PAD = SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>")
VOCABULARY = 2560
CONTEXT = 512
DEFAULT_TASK = "vehicle"
WORDS = (
    r"Vehicle(?:\.[A-Za-z0-9*]+)+"
    r"|" + r'[{\["},\]]*"[a-z_]+":(?:\[\{|\{|\[|")?'
    r"| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
)
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|system|>" + DEFAULT_TASK + "' }}{% endif %}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def render(task: str, text: str) -> str:
    """What CHAT_TEMPLATE makes of a task and one user message, ready for the answer."""
    return f"{SYSTEM}{task}{USER}{text}{ASSISTANT}"


def train(texts: Iterable[str], out: Path) -> None:
    """Train on `texts` and write the tokenizer files."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), show_progress=False, min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=80,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    out.mkdir(parents=True, exist_ok=True)
    content = json.loads(tokenizer.to_str())
    special = {"bos_token": SYSTEM, "eos_token": END, "pad_token": PAD}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "add_prefix_space": False,
        "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE, **special,
    }  # fmt: skip
    for name, value in (
        ("tokenizer.json", content), ("tokenizer_config.json", config), ("special_tokens_map.json", special),
    ):  # fmt: skip
        (out / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
