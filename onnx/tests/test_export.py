"""One small checkpoint through both layouts: the exported graph must repeat PyTorch's answers."""

import json
import shutil
import struct

import pytest

pytest.importorskip("torch", reason="torch is not installed (onnx/setup-python)")
pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed (onnx/setup-python)")

import slmd_model.export as exporting
from slmd_model import bundle, cli, golden
from slmd_model.bundle import Golden, Manifest, Task
from slmd_model.errors import UserError
from slmd_model.export import Request, export
from slmd_model.genai import Options
from slmd_model.golden import Question


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("genai", Options(precision="int4", symmetric=False)),
        ("genai", Options(precision="int8", full_logits=True)),
        ("transformers-js", Options(precision="fp32")),
        ("transformers-js", Options(precision="fp16")),
    ],
)
def test_export_repeats_pytorch(checkpoint, tmp_path, layout, options):
    export(checkpoint, tmp_path / "b", Request("tiny", layout=layout, options=options, inline=layout == "genai"))
    assert bundle.verify(tmp_path / "b") == []
    assert bundle.read(tmp_path / "b").golden
    assert not list((tmp_path / "b").rglob("*.data"))
    assert not (tmp_path / "b" / "chat_template.jinja").exists(), "the checkpoint has it in tokenizer_config.json"


def test_a_wrong_layout_precision_is_refused(checkpoint, tmp_path):
    with pytest.raises(UserError, match="int8"):
        export(checkpoint, tmp_path / "b", Request("x", layout="transformers-js", options=Options(precision="int8")))
    assert not (tmp_path / "b").exists()


def test_half_precision_halves_the_file_in_its_layout_only(checkpoint, tmp_path):
    sizes = {}
    for precision, name in (("fp32", "model.onnx"), ("fp16", "model_fp16.onnx")):
        options = Options(precision=precision)
        export(checkpoint, tmp_path / precision, Request("x", layout="transformers-js", options=options))
        sizes[precision] = (tmp_path / precision / "onnx" / name).stat().st_size
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    with pytest.raises(UserError, match="--layout transformers-js"):
        export(checkpoint, tmp_path / "genai", Request("x", options=Options(precision="fp16")))


def test_reference_logits_are_readable(checkpoint, tmp_path):
    golden.reference_logits(checkpoint, tmp_path / "logits", tokens=5, seed=1)
    header = json.loads((tmp_path / "logits.json").read_text())
    raw = (tmp_path / header["data"]).read_bytes()
    assert len(header["tokens"]) == header["positions"] == 5
    assert len(raw) == 4 * 5 * header["vocab_size"]
    assert all(abs(value) < 1e4 for value in struct.unpack(f"<{len(raw) // 4}f", raw))


@pytest.mark.parametrize("layout", ["genai", "transformers-js"])
def test_a_chat_template_of_its_own_file_is_kept(checkpoint, tmp_path, layout):
    hf, out = tmp_path / "hf", tmp_path / "b"
    shutil.copytree(checkpoint, hf)
    config = json.loads((hf / "tokenizer_config.json").read_text())
    (hf / "chat_template.jinja").write_text(config.pop("chat_template"))
    (hf / "tokenizer_config.json").write_text(json.dumps(config))
    export(hf, out, Request("tiny", layout=layout, options=Options(precision="fp32"), license=None))
    assert (out / "chat_template.jinja").read_bytes() == (hf / "chat_template.jinja").read_bytes()
    assert '"chat_template.jinja" = ' in (out / bundle.MANIFEST).read_text()
    assert bundle.verify(out) == []
    assert bundle.read(out).license is None


def test_no_golden_answers_are_warned_of(checkpoint, capsys):
    assert exporting.record(checkpoint, Request("tiny", margin=1e9)) == []
    assert "--golden-prompts" in capsys.readouterr().err
    assert exporting.record(checkpoint, Request("tiny", margin=0.0))
    assert "warning" not in capsys.readouterr().err


@pytest.fixture
def files(tmp_path):
    """What a user gives to an export beside the checkpoint."""
    (tmp_path / "pump.schema.json").write_text('{"type": "object"}')
    table = '[task.pump]\nsystem = "pump"\noutput = { json-schema = "pump.schema.json" }\nstop = ["x"]\n'
    (tmp_path / "tasks.toml").write_text(table)
    (tmp_path / "prompts.txt").write_text("pump\tClose the window, please.\n\nOnce upon a time\n")
    return tmp_path


def test_what_a_user_asks_for_is_in_the_request(files, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(exporting, "export", lambda hf, out, request: asked.append(request) or [])
    more = ["--tasks", str(files / "tasks.toml"), "--golden-prompts", str(files / "prompts.txt")]
    assert cli.main(["export", "hf", "pump-7"]) == 0
    assert cli.main(["export", "hf", "pump-7", "--license", "MIT", "--version", "7", *more]) == 0
    assert [(r.name, r.version, r.license) for r in asked] == [("pump-7", "0.1.0", None), ("pump-7", "7", "MIT")]
    assert asked[0].questions == Request("x").questions
    assert asked[1].questions == (Question("Close the window, please.", "pump"), Question("Once upon a time"))
    assert asked[1].tasks == {"pump": Task("pump", "pump.schema.json", None, None, None)}
    (files / "prompts.txt").write_text("\n")
    assert cli.main(["export", "hf", "pump-7", *more]) == 65


def test_tasks_and_prompts_of_a_user_are_in_the_bundle(checkpoint, files):
    out, (text, tasks, schemas) = files / "b", bundle.read_tasks(files / "tasks.toml")
    request = Request(
        "tiny", layout="transformers-js", options=Options(precision="fp32"), steps=4, tasks=tasks,
        tasks_text=text, files=schemas, questions=golden.read_questions(files / "prompts.txt"),
    )  # fmt: skip
    export(checkpoint, out, request)
    assert text in (out / bundle.MANIFEST).read_text()
    assert (out / "pump.schema.json").is_file()
    assert bundle.verify(out) == []
    assert [(g.task, g.prompt) for g in bundle.read(out).golden] == [
        ("pump", "Close the window, please."), (None, "Once upon a time"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tasks", "says"), [({}, "no task 'pump'"), ({"pump": Task("pump", template="{{ prompt }}!")}, "template")]
)
def test_prompts_that_the_daemon_reads_otherwise_are_refused(checkpoint, tmp_path, tasks, says):
    with pytest.raises(UserError, match=says):
        export(checkpoint, tmp_path / "b", Request("x", tasks=tasks, questions=(Question("p", "pump"),)))
    assert not (tmp_path / "b").exists()


def test_quantise_kv_keeps_what_is_written_by_hand(tmp_path, monkeypatch):
    source, out = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    (source / "model.onnx").write_text("floats")
    bundle.write(source, Manifest("n", "1", golden=[Golden("p", [1], "x")]))
    file = source / bundle.MANIFEST
    file.write_text(file.read_text() + "# by hand\n[task.note]\noutput = { regex = 'a+' }\nstop = ['x']\n")
    (source / bundle.SIGNATURE).write_text("of the old text")
    monkeypatch.setattr(exporting, "quantise_kv", lambda hf, model, asked, tasks: model.write_text("codes"))
    monkeypatch.setattr(exporting, "Decoder", lambda model: None)
    monkeypatch.setattr(exporting, "check", lambda *arguments: ["checked"])
    assert exporting.quantise_bundle(source, out, (Question("p"),)) == ["checked"]
    old, new = file.read_text(), (out / bundle.MANIFEST).read_text()
    digests = [bundle.sha256(folder / "model.onnx") for folder in (source, out)]
    assert new == old.replace('version = "1"\n', 'version = "1"\nkv = "int8"\n').replace(*digests)
    assert not (out / bundle.SIGNATURE).exists()
