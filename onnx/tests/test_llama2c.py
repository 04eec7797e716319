"""The converter against the plain reference, and the reference against run.c's own output."""

import json
import random
from itertools import pairwise

import pytest

PROMPTS = [
    "",
    " ",
    "  ",
    "Once upon",
    "Lily's café, naïve 🙂!",
    "\n",
    "a\n\nb",
    "\t tab",
    "  two leading",
    "日本語",
    "é",
    "1 2 3",
]


def test_reference_repeats_run_c(reference, stories):
    golden = json.loads((stories / "golden.json").read_text())
    result = reference.generate(*reference.load(stories), golden["prompt"], golden["steps"])
    assert result["text"].decode() == golden["text"]
    assert result["continuation"] == result["text"]


def test_a_space_is_stripped_after_bos_only(reference, stories):
    tokenizer = reference.load(stories)[1]
    t = tokenizer.ids[b" t"]
    assert (tokenizer.piece(1, t), tokenizer.piece(5, t)) == (b"t", b" t")


def test_byte_tokens_are_raw_bytes(reference, stories):
    tokenizer = reference.load(stories)[1]
    tokens = tokenizer.encode("🙂")
    assert b"".join(tokenizer.piece(a, b) for a, b in pairwise(tokens)) == "🙂".encode()


@pytest.fixture(scope="module")
def hf_tokenizer(stories, tmp_path_factory):
    tokenizers = pytest.importorskip("tokenizers")
    from slmd_model import llama2c

    out = tmp_path_factory.mktemp("tokenizer")
    llama2c.write_tokenizer(llama2c.read_vocabulary(stories / "tok512.bin", 512), 512, out)
    return tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_tokenizer_json_encodes_as_run_c(reference, stories, hf_tokenizer, prompt):
    assert hf_tokenizer.encode(prompt).ids == reference.load(stories)[1].encode(prompt)


def test_tokenizer_json_encodes_noise_as_run_c(reference, stories, hf_tokenizer):
    r, tokenizer = random.Random(0), reference.load(stories)[1]
    pieces = [
        " ",
        "the",
        "a",
        "he",
        "and",
        "Tim",
        "aaa",
        "  ",
        "\n",
        "é",
        "🙂",
        ".",
        "ss",
        "ing",
        "th",
        "ere",
        "wa",
        "n",
    ]
    for _ in range(2000):
        text = "".join(r.choices(pieces, k=r.randint(1, 20)))
        assert hf_tokenizer.encode(text).ids == tokenizer.encode(text), repr(text)


def test_tokenizer_json_decodes_as_run_c(reference, stories, hf_tokenizer):
    tokenizer = reference.load(stories)[1]
    for prompt in PROMPTS:
        tokens = tokenizer.encode(prompt)
        raw = b"".join(tokenizer.piece(a, b) for a, b in pairwise(tokens))
        assert hf_tokenizer.decode(tokens, skip_special_tokens=True).encode() == raw


@pytest.mark.parametrize("prompt", PROMPTS)
def test_fp32_bundle_gives_the_reference_tokens(reference, stories, test_models, prompt):
    pytest.importorskip("onnxruntime")
    bundle = test_models / "stories260k-fp32"
    if not bundle.is_dir():
        pytest.skip("stories260k-fp32 is not built (onnx/make-test-models stories260k-fp32)")
    from slmd_model.session import Decoder

    wanted = reference.generate(*reference.load(stories), prompt, 80)
    got = Decoder(bundle / "model.onnx").greedy(wanted["prompt_tokens"], len(wanted["tokens"]) + 1, frozenset([1, 2]))
    assert got[: len(wanted["tokens"])] == wanted["tokens"]
