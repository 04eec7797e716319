"""From a Hugging Face checkpoint to a checked bundle."""

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from slmd_model import bundle, genai, golden, kv_cache, standard_graph, static_export
from slmd_model.bundle import Manifest, Task
from slmd_model.errors import UserError
from slmd_model.golden import Question
from slmd_model.session import Decoder
from slmd_model.static_session import StaticDecoder

CHAT_TEMPLATE = "chat_template.jinja"  # the daemon prefers it to the one in tokenizer_config.json
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", CHAT_TEMPLATE,
)  # fmt: skip
BUNDLE_FILES = {"genai_config.json", "model.onnx", "model.onnx.data", *TOKENIZER_FILES}
STANDARD_FILES = {"fp32": "model.onnx", "fp16": "model_fp16.onnx", "int4": "model_q4.onnx"}
PROMPTS = ("", "Once upon a time", "The quick brown fox", "Close the window, please.", "2 + 2 =")


@dataclass(frozen=True)
class Request:
    """What to make. `files` are extra files of the bundle, such as schemas."""

    name: str
    version: str = "0.1.0"
    license: str | None = "Apache-2.0 OR MIT"  # of this project's own models; None: the manifest names none
    layout: str = "genai"
    options: genai.Options = field(default_factory=genai.Options)
    inline: bool = False
    steps: int = 32
    margin: float | None = None
    questions: tuple[Question, ...] = tuple(Question(p) for p in PROMPTS)
    default_task: str | None = None
    tasks: dict[str, Task] = field(default_factory=dict)
    tasks_text: str = ""  # their tables as somebody wrote them
    files: tuple[Path, ...] = ()
    kv: str | None = None  # "int8": codes in the KV cache
    calibration: tuple[Question, ...] = ()  # for that; none: the questions and some general texts
    shapes: static_export.Shapes | None = None  # a pair of static graphs instead of a layout


def export(hf: Path, out: Path, request: Request) -> list[str]:
    """Write the bundle `out` (replaced in one rename) and return notes on its check."""
    if not hf.is_dir():
        raise UserError(f"{hf}: no such folder", 66)
    if request.options.precision == "fp16" and (request.shapes or request.layout != "transformers-js"):
        raise UserError("fp16 is made with --layout transformers-js: fused operators have none on CPUs", 64)
    check_questions(hf, request.questions, request.tasks)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".slmd-export-") as work:
        folder = Path(work, "bundle")
        folder.mkdir()
        decoder, notes = make(hf, folder, request)
        write_tokenizer(hf, folder)
        for path in request.files:
            if (folder / path.name).exists():
                raise UserError(f"{path}: the bundle has another file of this name; rename it")
            shutil.copy(path, folder / path.name)
        answers = record(hf, request)
        notes += check(hf, decoder, answers, request)
        kv, static = kv_and_shapes(request)
        manifest = Manifest(
            request.name, request.version, request.license, request.default_task, request.tasks, answers,
            kv=kv, static=static, tasks_text=request.tasks_text,
        )  # fmt: skip
        bundle.write(folder, manifest)
        replace(folder, out)
    return notes


def make(hf: Path, folder: Path, request: Request) -> tuple[Decoder | StaticDecoder, list[str]]:
    """The graph or graphs that were asked for, opened, and notes on them."""
    asked = request.calibration or default_calibration(request.questions)
    if request.shapes:
        return make_static(hf, folder, request, asked)
    model = write_graph(hf, folder, request)
    if request.kv:
        quantise_kv(hf, model, asked, request.tasks)
    return Decoder(model), []


def make_static(
    hf: Path, folder: Path, request: Request, asked: tuple[Question, ...]
) -> tuple[StaticDecoder, list[str]]:
    if request.kv or request.options.full_logits or request.inline:
        raise UserError("static shapes leave no choice of the KV cache, of logits or of where weights are", 64)
    shutil.copy(hf / "config.json", folder)
    prompts = encoded(hf, asked, request.tasks)
    held = encoded(hf, tuple(kv_cache.held_texts()), request.tasks)
    return static_export.write(hf, folder, request.shapes, request.options.precision, prompts, held)


def kv_and_shapes(request: Request) -> tuple[str | None, bundle.Static | None]:
    """What the manifest says of caches and shapes."""
    if not request.shapes:
        return request.kv, None
    coded = request.options.precision != "fp32"
    static = bundle.Static(**static_export.FILES, chunk=request.shapes.chunk, context=request.shapes.context)
    return "int8" if coded else None, static


def encoded(hf: Path, asked: tuple[Question, ...], tasks: dict[str, Task]) -> list[list[int]]:
    """The prompts as token ids; `hf` has the tokenizer."""
    tokenizer = golden.load_tokenizer(hf)
    systems = {name: task.system for name, task in tasks.items()}
    return [golden.encode(tokenizer, q, systems.get(q.task or "")) for q in questions(hf, asked)]


def write_graph(hf: Path, folder: Path, request: Request) -> Path:
    """The model file, in the layout that was asked for."""
    if request.layout == "transformers-js":
        precision = request.options.precision
        if precision not in STANDARD_FILES:
            raise UserError(f"the transformers-js layout is made in {' or '.join(STANDARD_FILES)}, not {precision}", 64)
        (folder / "onnx").mkdir()
        shutil.copy(hf / "config.json", folder)
        model = folder / "onnx" / STANDARD_FILES[precision]
        standard_graph.write(hf, model, precision)
        return model
    genai.build(hf, folder, request.options)
    for path in folder.iterdir():
        if path.name not in BUNDLE_FILES:
            path.unlink()
    if request.inline:
        genai.embed_weights(folder)
    return folder / "model.onnx"


def quantise_kv(hf: Path, model: Path, asked: tuple[Question, ...], tasks: dict[str, Task]) -> None:
    """Codes in the cache of `model`, by what it goes on with from `asked`; `hf` has the tokenizer."""
    kv_cache.quantise(model, encoded(hf, asked, tasks))


def default_calibration(asked: tuple[Question, ...]) -> tuple[Question, ...]:
    return (*asked, *kv_cache.general_texts())


def quantise_bundle(source: Path, out: Path, calibration: tuple[Question, ...]) -> list[str]:
    """The bundle `source` with an int8 cache as the bundle `out`; the golden answers are the same and must hold."""
    old = bundle.read(source)
    own = tuple(Question(g.prompt, g.task) for g in old.golden)
    check_questions(source, own, old.tasks)
    asked = calibration or default_calibration(own)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".slmd-export-") as work:
        folder = Path(work, "bundle")
        shutil.copytree(source, folder)
        model = folder / "model.onnx"
        quantise_kv(folder, model, asked, old.tasks)
        notes = check(folder, Decoder(model), old.golden, Request(old.name, tasks=old.tasks))
        bundle.seal(folder, kv="int8")
        replace(folder, out)
    return notes


def write_tokenizer(hf: Path, folder: Path) -> None:
    """Our tokenizer files in place of those the builder saved again, and a special_tokens_map.json."""
    for name in TOKENIZER_FILES:
        if (hf / name).is_file():
            shutil.copy(hf / name, folder)
        elif name == CHAT_TEMPLATE:  # the builder's copy of the one in tokenizer_config.json
            (folder / name).unlink(missing_ok=True)
    target = folder / "special_tokens_map.json"
    if not target.is_file():
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        names = ("bos_token", "eos_token", "unk_token", "pad_token")
        tokens = {name: config[name] for name in names if config.get(name)}
        target.write_text(json.dumps(tokens, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def record(hf: Path, request: Request) -> list[bundle.Golden]:
    margin = golden.MARGIN[request.options.precision] if request.margin is None else request.margin
    margin = max(margin, golden.KV_MARGIN) if kv_and_shapes(request)[0] else margin
    systems = {name: task.system for name, task in request.tasks.items()}
    answers = golden.record(hf, questions(hf, request.questions), systems, request.steps, margin)
    if not answers:
        print(
            f"slmd-model: warning: {request.name} gets no golden answers, so neither this export nor a device can see "
            f"whether its graph is right: after every prompt the two best first tokens are closer than {margin} "
            "logits, or the answer is empty. Ask it what it was trained on (--golden-prompts FILE), or lower "
            "--golden-margin.",
            file=sys.stderr,
        )
    return answers


def check_questions(hf: Path, asked: tuple[Question, ...], tasks: dict[str, Task]) -> None:
    """Golden prompts that the daemon would not read as they are encoded here are refused."""
    of_tasks = [q for q in asked if q.task]
    for question in of_tasks:
        where, task = f"golden prompt {question.prompt!r}", tasks.get(question.task)
        if task is None:
            raise UserError(f"{where}: there is no task {question.task!r}; --tasks FILE gives its table")
        if task.template:
            raise UserError(f"{where}: task {question.task!r} has a template, which is not applied here; leave it out")
    with_system = [q for q in of_tasks if tasks[q.task].system]
    if with_system and golden.load_tokenizer(hf).chat_template is None:
        where = f"golden prompt {with_system[0].prompt!r}"
        raise UserError(f"{where}: a system prompt of a model without a chat template is not known here; leave it out")


def questions(hf: Path, asked: tuple[Question, ...]) -> list[Question]:
    return [q for q in asked if q.prompt or accepts_empty(hf)]


def accepts_empty(hf: Path) -> bool:
    """An empty prompt needs a tokenizer that adds a BOS, or a chat template."""
    tokenizer = golden.load_tokenizer(hf)
    return tokenizer.chat_template is not None or bool(tokenizer("")["input_ids"])


def check(hf: Path, decoder: Decoder | StaticDecoder, answers: list[bundle.Golden], request: Request) -> list[str]:
    """The exported graph must repeat every recorded token."""
    tokenizer = golden.load_tokenizer(hf)
    systems = {name: task.system for name, task in request.tasks.items()}
    for answer in answers:
        ids = golden.encode(tokenizer, Question(answer.prompt, answer.task), systems.get(answer.task or ""))
        got = decoder.greedy(ids, len(answer.tokens))
        if got != answer.tokens:
            first = next(i for i, pair in enumerate(zip(got, answer.tokens, strict=True)) if pair[0] != pair[1])
            raise UserError(
                f"{request.name}: for the prompt {answer.prompt!r} the exported model leaves the fp32 answer at "
                f"token {first} of {len(answer.tokens)} (got {got[first]}, want {answer.tokens[first]})",
                70,
            )
    return [f"golden {a.prompt!r}: {len(a.tokens)} tokens equal" for a in answers]


def replace(folder: Path, out: Path) -> None:
    """Put `folder` where `out` is; a reader sees the old bundle or the new one."""
    old = folder.with_name("old")
    if out.exists():
        out.rename(old)
    folder.rename(out)
