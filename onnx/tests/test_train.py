"""Training in small: it learns, goes on after a stop, and says what is missing."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed (onnx/setup-python)")

import torch

from slmd_model import cli, random_weights
from slmd_model import default_tokenizer as words
from slmd_model.batches import encode, read_lines, tensors
from slmd_model.errors import UserError
from slmd_model.finetune import Settings as LoraSettings
from slmd_model.finetune import finetune
from slmd_model.forward import answer_logits
from slmd_model.muon import Muon
from slmd_model.train import Run, Settings, Shape, train

SHAPE = Shape(hidden=64, layers=2, feed_forward=96, heads=2, kv_heads=1, vocabulary=400)
SMALL = {"tokens_per_batch": 512, "warmup": 5, "save_every": 30}
LINES = [
    {"task": "vehicle", "text": f"turn {a} the {b}", "answer": {a: b}}
    for a in ("on", "off")
    for b in ("fan", "radio", "light")
]


@pytest.fixture
def data(tmp_path):
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    (tmp_path / "train.jsonl").write_text(text * 5)
    (tmp_path / "choose.jsonl").write_text(text)
    return tmp_path


def test_learns_and_goes_on(data, tmp_path):
    out = tmp_path / "run"
    train(data, out, SHAPE, Settings(steps=30, **SMALL))
    with (out / "log.jsonl").open("a") as file:
        file.write('{"step": 31, "loss": 9.0}\n')  # after the last save: will come again
    run = Run(data, out, SHAPE, Settings(steps=60, **SMALL), tell=lambda text: None)
    assert run.step == 30
    assert "9.0" not in (out / "log.jsonl").read_text()
    run.run()
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert log[-1]["exact"]["choose"] == 1.0
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="another shape"):
        Run(data, out, Shape(hidden=32, heads=1, kv_heads=1), Settings(**SMALL), tell=lambda text: None)


def test_forward_is_that_of_transformers(data, tmp_path):
    run = Run(data, tmp_path, SHAPE, Settings(**SMALL), tell=lambda text: None)
    ids, wanted = tensors(run.examples, [0, 3, 5], run.pad, "cpu")
    with torch.inference_mode():
        logits, targets, at = answer_logits(run.model, ids, wanted)
        other = run.model(ids).logits[at]
    assert torch.equal(targets, wanted[wanted >= 0])
    assert (logits.float() - other).abs().max() < 0.05 * other.abs().max() + 0.02


def test_a_rare_word_has_the_same_pieces_after_a_space_and_after_a_quote(tmp_path):
    from tokenizers import Tokenizer

    words.train(["add the song to the list"] * 9 + ['{"value":"song"}', "rimove zyx"], tmp_path, 330)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))

    def pieces(text):
        return tokenizer.encode(text).tokens

    assert "Ġsong" in pieces("the song") and "song" in pieces('{"value":"song"}')
    rare = pieces("zyxo")
    assert pieces("add zyxo")[-len(rare) :] == rare
    assert tokenizer.decode(tokenizer.encode(" add zyxo  42").ids) == " add zyxo  42"


@pytest.mark.parametrize(("text", "hint"), [("", "no lines"), ("[]\n", ":1:"), ('{"text": 1, "answer": ""}\n', ":1:")])
def test_bad_lines_are_named(tmp_path, text, hint):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(UserError, match=hint):
        read_lines(tmp_path / "x.jsonl")


def test_missing_data_is_a_clear_error(tmp_path, capsys):
    assert cli.main(["train", str(tmp_path), str(tmp_path / "run")]) == 66
    assert "train.jsonl" in capsys.readouterr().err
    assert cli.main(["data", str(tmp_path / "o"), "--sources", str(tmp_path), "--frozen", str(tmp_path)]) == 66
    assert "nlu_eval_train.jsonl" in capsys.readouterr().err


def test_examples_end_with_the_end(data, tmp_path):
    run = Run(data, tmp_path, SHAPE, Settings(**SMALL), tell=lambda text: None)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
    examples = encode(tokenizer, run.lines)
    row, answer = examples.line(0)
    assert row[-1] == tokenizer.token_to_id(words.END)
    assert tokenizer.decode(list(row[answer:-1])) == run.lines[0]["answer"]


def test_an_open_answer_has_no_end(data, tmp_path):
    Run(data, tmp_path, SHAPE, Settings(**SMALL), tell=lambda text: None)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
    line = {"task": "vehicle", "text": "on", "answer": '{"on":', "open": True}
    row, answer = encode(tokenizer, [line]).line(0)
    assert tokenizer.decode(list(row[answer:]), skip_special_tokens=False) == line["answer"]


def test_dropout_is_of_the_lines_that_it_is_asked_for(data, tmp_path):
    run = Run(data, tmp_path, SHAPE, Settings(**SMALL), tell=lambda text: None)
    ids, wanted = tensors(run.examples, [0, 1, 2], run.pad, "cpu")
    plain, _, at = answer_logits(run.model, ids, wanted)
    some, _, _ = answer_logits(run.model, ids, wanted, torch.tensor([0.0, 0.5, 0.0]))
    of = at.nonzero()[:, 0]
    assert torch.equal(plain[of != 1], some[of != 1]) and not torch.equal(plain[of == 1], some[of == 1])


def test_dropout_of_an_unknown_task_is_a_clear_error(data, tmp_path):
    with pytest.raises(UserError, match="dropout of weather"):
        Run(data, tmp_path, SHAPE, Settings(**SMALL, dropout={"weather": 0.1}), tell=lambda text: None)


def test_finetune_merges_what_it_learned(data, tmp_path):
    pytest.importorskip("peft", reason="peft is not installed (onnx/setup-python)")
    hf = tmp_path / "hf"
    random_weights.make("tiny", hf, seed=0, tokenizer=None, memorise=5, report=lambda text: None)
    settings = LoraSettings(steps=25, lines_per_batch=6, learning_rate=5e-3, warmup=2)
    finetune(hf, data / "train.jsonl", tmp_path / "out", settings, tell=lambda text: None)
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < log[0]["loss"]
    assert (tmp_path / "out" / "hf" / "model.safetensors").is_file()
    assert (tmp_path / "out" / "hf" / "tokenizer.json").is_file()


def test_muon_is_that_of_torch():
    torch.manual_seed(0)
    shapes = [(96, 64), (64, 96), (96, 64)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    starts = [p.detach().clone() for p in ours]
    options = {"lr": 0.01, "weight_decay": 0.1}
    both = (Muon(ours, **options), torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **options))
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for optimizer in both:
            optimizer.step()
    for p, q, start in zip(ours, theirs, starts, strict=True):
        assert (p - q).abs().max() < 0.05 * (p - start).abs().max()  # torch's are bfloat16
