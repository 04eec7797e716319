"""Training in small: it learns, goes on after a stop, and says what is missing."""

import json
import signal
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (onnx/setup-python)")

import torch

from slmd_model import cli, golden, random_weights
from slmd_model import default_tokenizer as words
from slmd_model import finetune as lora
from slmd_model.batches import encode, read_lines, tensors
from slmd_model.data import public
from slmd_model.errors import UserError
from slmd_model.finetune import Settings as LoraSettings
from slmd_model.finetune import finetune
from slmd_model.forward import answer_logits
from slmd_model.muon import Muon
from slmd_model.train import Run, Settings, Shape, train

SHAPE = Shape(hidden=64, layers=2, feed_forward=96, heads=2, kv_heads=1, vocabulary=400)
SIZES = ["--hidden=64", "--layers=2", "--feed-forward=96", "--heads=2", "--kv-heads=1", "--vocabulary=400"]
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


@pytest.fixture
def tiny(tmp_path):
    """A checkpoint of noise, for what needs no answers."""
    random_weights.make("tiny", tmp_path / "tiny", seed=0, tokenizer=None, memorise=0, report=lambda text: None)
    return tmp_path / "tiny"


@pytest.fixture
def one_thread():
    """Sums in one order: runs can be compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same_weights(one, other):
    a, b = (torch.load(out / "checkpoint.pt", weights_only=True) for out in (one, other))
    return all(torch.equal(a[of][name], b[of][name]) for of in ("model", "average") for name in a[of])


def tokenizer_of(hf):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(hf / "tokenizer.json"))


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


def test_a_stopped_run_gives_the_weights_of_one_that_was_not(data, tmp_path, monkeypatch, one_thread):
    settings = Settings(steps=60, **SMALL | {"save_every": 40}, dropout={"vehicle": 0.3})
    train(data, tmp_path / "whole", SHAPE, settings)
    advance = Run.advance

    def until_30(self, group):
        self.stop = signal.SIGTERM if self.step == 29 else 0
        return advance(self, group)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="stopped at step 30"):
        patch.setattr(Run, "advance", until_30)
        train(data, tmp_path / "parts", SHAPE, settings)
    train(data, tmp_path / "parts", SHAPE, settings)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_the_same_seed_gives_the_same_weights(data, tmp_path, one_thread):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(data, tmp_path / name, SHAPE, Settings(steps=5, **SMALL, seed=seed, dropout={"vehicle": 0.3}))
    assert same_weights(tmp_path / "a", tmp_path / "b") and not same_weights(tmp_path / "a", tmp_path / "c")


def test_other_data_is_told_and_a_checkpoint_of_before_goes_on(data, tmp_path):
    out, settings = tmp_path / "run", Settings(steps=2, **SMALL)
    train(data, out, SHAPE, settings)

    def notes():
        told = []
        assert Run(data, out, SHAPE, settings, tell=told.append).step == 2
        return [text for text in told if text.startswith("note: ")]

    assert not notes()
    with (data / "train.jsonl").open("a") as file:
        file.write(json.dumps(LINES[0]) + "\n")
    assert len(notes()) == 1 and "train.jsonl is not what" in notes()[0]
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    del state["random"], state["digest"]
    torch.save(state, out / "checkpoint.pt")
    assert not notes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step(data, tmp_path, monkeypatch, capsys, number):
    advance = Run.advance

    def interrupted(self, group):
        if self.step == 6:
            signal.raise_signal(number)
        return advance(self, group)

    def ignored(number, frame):
        pass

    monkeypatch.setattr(Run, "advance", interrupted)
    before = signal.signal(number, ignored)
    try:
        assert cli.main(["train", str(data), str(tmp_path / "run"), "--steps", "20", *SIZES]) == 128 + number
        assert signal.getsignal(number) is ignored
    finally:
        signal.signal(number, before)
    error = capsys.readouterr().err
    assert error.count("stopped at step 7; the same command goes on\n") == 1 and "Traceback" not in error
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 7


def test_ctrl_c_before_the_first_step_is_no_traceback(data, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("slmd_model.train.Run", interrupted)
    assert cli.main(["train", str(data), str(tmp_path / "run")]) == 130
    assert "before its first step" in capsys.readouterr().err


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


def test_lines_longer_than_the_context_are_left_out_and_told(data, tmp_path):
    long = {"task": "vehicle", "text": "1" * 600, "answer": "x"}
    other = {"task": "other", "text": "on", "answer": "x"}
    (data / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [long, *LINES, other]))
    settings, told = Settings(**SMALL, dropout={"other": 0.5}), []
    run = Run(data, tmp_path, SHAPE, settings, tell=told.append)
    assert f"{data / 'train.jsonl'}: 1 of 8 lines are longer than 512 tokens and left out" in told
    assert run.dropout.tolist() == [0.0] * 6 + [0.5] and len(run.examples.ends) == 7
    (data / "choose.jsonl").write_text(json.dumps(long) + "\n")
    with pytest.raises(UserError, match=r"choose.jsonl: every line is longer than 512"):
        Run(data, tmp_path, SHAPE, settings, tell=told.append)


def test_a_line_of_the_whole_context_is_kept(data, tmp_path):
    Run(data, tmp_path, SHAPE, Settings(**SMALL), tell=lambda text: None)
    tokenizer = tokenizer_of(tmp_path / "hf")
    line = {"task": "vehicle", "text": "1", "answer": "x"}
    room = words.CONTEXT - len(encode(tokenizer, [line]).ids)
    examples = encode(tokenizer, [line | {"text": "1" * (1 + room + more)} for more in (1, 0)])
    assert examples.kept.tolist() == [1] and len(examples.ids) == words.CONTEXT
    assert examples.line(0)[0][-1] == tokenizer.token_to_id(words.END)


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


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan")])
def test_a_share_of_dropout_is_below_one(data, tmp_path, share):
    with pytest.raises(UserError, match="dropout of vehicle is"):
        Run(data, tmp_path, SHAPE, Settings(**SMALL, dropout={"vehicle": share}), tell=lambda text: None)


def test_dropout_of_one_task_is_given_once(data, tmp_path, capsys):
    twice = ["--dropout", "vehicle=0.1", "--dropout", "vehicle=0.2"]
    assert cli.main(["train", str(data), str(tmp_path / "run"), "--steps", "1", *SIZES, *twice]) == 64
    assert "one --dropout for each task" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "hint"),
    [("--heads 3 --kv-heads 2", "kv-heads, 2"), ("--heads 6", "hidden is 256"), ("--kv-heads 0", "kv-heads is 0")],
)
def test_a_shape_that_cannot_be_is_a_clear_error(data, tmp_path, capsys, options, hint):
    assert cli.main(["train", str(data), str(tmp_path / "run"), "--steps", "1", *options.split()]) == 64
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "finetune", "data"])
def test_every_option_has_help_and_shows_its_default(command):
    for action in cli.parser()._subparsers._group_actions[0].choices[command]._actions:
        if action.option_strings:
            assert action.help, action.dest
            assert action.default is None or action.dest == "help" or "default" in action.help, action.dest


def test_the_frozen_sentences_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (cli.parser().parse_args(["data", "out"]).frozen / "vehicle_handwritten.jsonl").is_file()


def test_public_sentences_without_slots_have_none(tmp_path):
    slots = [{"slot": "x", "value": "a"}]
    rows = [{"text": "a", "intent": "b"}, {"text": "a", "intent": "b", "slots": slots}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row["slots"] for row in public.load(tmp_path / "x.jsonl")] == [[], slots]


@pytest.mark.parametrize("text", ["{", "[]", '{"text": "a"}', '{"text": 1, "intent": "b"}'])
def test_bad_public_sentences_are_named(tmp_path, text):
    (tmp_path / "x.jsonl").write_text('{"text": "a", "intent": "b"}\n' + text + "\n")
    with pytest.raises(UserError, match=r"x\.jsonl:2:"):
        public.load(tmp_path / "x.jsonl")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_finetune_names_what_a_checkpoint_lacks(tiny, data, tmp_path, capsys, missing):
    (tiny / missing).unlink()
    assert cli.main(["finetune", str(tiny), str(data / "train.jsonl"), str(tmp_path / "out")]) == 66
    assert f"{missing} is missing" in capsys.readouterr().err


def test_finetune_of_broken_weights_is_a_clear_error(tiny, data, tmp_path, capsys):
    (tiny / "model.safetensors").write_text("x")
    assert cli.main(["finetune", str(tiny), str(data / "train.jsonl"), str(tmp_path / "out")]) == 65
    assert "not a checkpoint that can be read" in capsys.readouterr().err


def test_finetune_leaves_out_long_lines_and_tells(tiny, data, tmp_path):
    tokenizer, told = golden.load_tokenizer(tiny), []
    lines = [{"task": "vehicle", "text": "on", "answer": answer} for answer in ("x", "x" * 50)]
    rows = [lora.encode(tokenizer, line) for line in lines]
    limit = len(rows[0][0])
    assert lora.fitting(tokenizer, lines, Path("x.jsonl"), limit, told.append) == rows[:1]
    assert told == [f"x.jsonl: 1 of 2 lines are longer than {limit} tokens and left out"]
    with pytest.raises(UserError, match="every line is longer than 5 tokens"):
        finetune(tiny, data / "train.jsonl", tmp_path / "out", LoraSettings(max_tokens=5), tell=told.append)


def test_finetune_teaches_nothing_after_an_open_answer(tiny):
    tokenizer = golden.load_tokenizer(tiny)
    line = {"task": "vehicle", "text": "on", "answer": '{"on":'}
    whole, opened = (lora.encode(tokenizer, line | {"open": value}) for value in (False, True))
    assert whole[0] == [*opened[0], tokenizer.eos_token_id]
    labels = lora.padded([whole, opened])["labels"]
    assert labels[0, -1] == tokenizer.eos_token_id and labels[1, -1] == -100
    assert labels[1, opened[1] : -1].tolist() == opened[0][opened[1] :]


@pytest.mark.parametrize("work", [torch.bfloat16, torch.float32])
def test_finetune_computes_in_what_the_machine_is_quick_in(monkeypatch, work):
    monkeypatch.setattr(lora, "work_type", lambda device: work)
    with lora.precision("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == work


def test_finetune_merges_what_it_learned(data, tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="peft is not installed (onnx/setup-python)")
    hf = tmp_path / "hf"
    random_weights.make("tiny", hf, seed=0, tokenizer=None, memorise=5, report=lambda text: None)
    settings = LoraSettings(steps=25, lines_per_batch=6, learning_rate=5e-3, warmup=2)
    shown = []

    class Bar(lora.tqdm):
        def set_postfix(self, **values):
            shown.append(values)

    monkeypatch.setattr(lora, "tqdm", Bar)
    finetune(hf, data / "train.jsonl", tmp_path / "out", settings, tell=lambda text: None)
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < log[0]["loss"]
    assert shown == [{"loss": line["loss"]} for line in log]
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
