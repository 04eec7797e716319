"""The default model's tokenizer: byte-level BPE whose words suit short JSON answers that copy from the prompt.

A VSS path, a JSON key with its punctuation and a name_with_underscores are one
word each, so that BPE learns them as one token; digits stand alone, so that
numbers can be copied. Words are learned without the space before them. The
space is merged last, and only with whole words that are frequent: so a rare
name has the same pieces after a space and after a quote, and copying it is
repeating tokens.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from slmd_model.errors import UserError

END, SYSTEM, USER, ASSISTANT, PAD = SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>")
VOCABULARY = 4096
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
WITHOUT_SPACE = 2816  # of them learned without the space before a word
CONTEXT = 512
DEFAULT_TASK = "vehicle"
UNITS = r"Vehicle(?:\.[A-Za-z0-9*]+)+" r"|" + r'[{\["},\]]*"[a-z_]+":(?:\[\{|\{|\[|")?'
APART = UNITS + r"|[A-Za-z]+(?:_[A-Za-z]+)+|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+|\s"
WORDS = UNITS + r"|[A-Za-z]+(?:_[A-Za-z]+)+| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
SPACE = "Ġ"  # how a byte-level vocabulary spells a space
CHAT_TEMPLATE = (  # DEFAULT stands for the task of a prompt without one
    "{% if messages[0]['role'] != 'system' %}{{ '<|system|>DEFAULT' }}{% endif %}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def render(task: str, text: str) -> str:
    """What CHAT_TEMPLATE makes of a task and one user message, ready for the answer."""
    return f"{SYSTEM}{task}{USER}{text}{ASSISTANT}"


def splitter(words: str):
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def train(texts: Iterable[str], out: Path, vocabulary: int = VOCABULARY, task: str = DEFAULT_TASK) -> None:
    """Train on `texts` and write the tokenizer files; `task` is that of prompts without one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    texts = list(texts)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitter(APART)
    trainer = trainers.BpeTrainer(
        vocab_size=min(WITHOUT_SPACE, vocabulary), special_tokens=list(SPECIAL), show_progress=False, min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=80,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = splitter(WORDS)
    tokenizer.decoder = decoders.ByteLevel()
    content = json.loads(tokenizer.to_str())
    add_spaced(content["model"], texts, vocabulary)
    write(content, out, task)


def add_spaced(model: dict, texts: list[str], vocabulary: int) -> None:
    """Merge the space with the most frequent words that are one token."""
    count = Counter(word for text in texts for word in re.findall(r"(?<= )[^\W\d_]+", text))
    for word, _ in count.most_common():
        if len(model["vocab"]) >= vocabulary:
            break
        if len(word) > 1 and word in model["vocab"] and SPACE + word not in model["vocab"]:
            model["vocab"][SPACE + word] = len(model["vocab"])
            model["merges"].append([SPACE, word])


def write(content: dict, out: Path, task: str) -> None:
    if not re.fullmatch(r"[\w-]+", task):
        raise UserError(f"{task!r}: a task's name has letters, digits, - and _ only")
    out.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": SYSTEM, "eos_token": END, "pad_token": PAD}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "add_prefix_space": False,
        "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE.replace("DEFAULT", task), **special,
    }  # fmt: skip
    for name, value in (
        ("tokenizer.json", content), ("tokenizer_config.json", config), ("special_tokens_map.json", special),
    ):  # fmt: skip
        (out / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
