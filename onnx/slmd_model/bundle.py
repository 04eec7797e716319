"""`slmd.toml`: the manifest that makes a folder of model files a bundle the daemon loads.

Keys are kebab-case; the daemon rejects unknown ones. Every other file of the
bundle is listed with its SHA-256, so that a damaged download is refused.
"""

import hashlib
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit

from slmd_model.errors import UserError

MANIFEST = "slmd.toml"
SIGNATURE = "slmd.toml.minisig"  # minisign's, of the manifest: not listed in it
FORMAT = 1
SHAPES = ("prefill", "decode", "chunk", "context")  # of [static]


@dataclass(frozen=True)
class Task:
    """A named task; `schema` is a file name inside the bundle. docs/answers.md explains how sure answers are.

    None: the manifest does not say it, and the daemon's configuration does.
    """

    system: str | None
    schema: str | None = None
    max_tokens: int | None = 64
    deadline_ms: int | None = 2000
    temperature: float | None = 0.0
    confidence_fields: tuple[str, ...] = ()
    confidence_temperature: float | None = None
    min_confidence: float | None = None
    template: str | None = None  # of the user's message


@dataclass(frozen=True)
class Golden:
    """Greedy continuation of a prompt, recorded from PyTorch in float32."""

    prompt: str
    tokens: list[int]
    text: str
    task: str | None = None


@dataclass(frozen=True)
class Static:
    """Two graphs of fixed shapes: docs/npu.md."""

    prefill: str
    decode: str
    chunk: int
    context: int


@dataclass(frozen=True)
class Manifest:
    name: str
    version: str
    license: str | None = None  # an SPDX expression
    default_task: str | None = None
    tasks: dict[str, Task] = field(default_factory=dict)
    golden: list[Golden] = field(default_factory=list)
    kv: str | None = None  # how the graph keeps keys and values; None: as floats
    counter: int | None = None  # a device refuses a lower one than it has had; None: 0
    latency: dict[str, int] = field(default_factory=dict)  # max-decode-ms, max-first-token-ms
    static: Static | None = None  # instead of one graph of any shape
    tasks_text: str = ""  # the tables of `tasks` as somebody wrote them


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def render(manifest: Manifest, files: dict[str, str]) -> str:
    """The manifest as TOML text; `files` maps a name to its SHA-256."""
    lines = [f"format = {FORMAT}"]
    lines += [f"{key} = {_text(getattr(manifest, key))}" for key in ("name", "version")]
    if manifest.license:
        lines.append(f"license = {_text(manifest.license)}")
    if manifest.counter is not None:
        lines.append(f"counter = {manifest.counter}")
    if manifest.kv:
        lines.append(f"kv = {_text(manifest.kv)}")
    if manifest.default_task:
        lines.append(f"default-task = {_text(manifest.default_task)}")
    if manifest.static:
        pair = manifest.static
        lines += ["", "[static]"] + [f"{key} = {_text(getattr(pair, key))}" for key in SHAPES[:2]]
        lines += [f"{key} = {getattr(pair, key)}" for key in SHAPES[2:]]
    lines += ["", "[files]", *(f"{_text(name)} = {_text(digest)}" for name, digest in sorted(files.items()))]
    if manifest.latency:
        lines += ["", "[latency]"] + [f"{key} = {ms}" for key, ms in manifest.latency.items()]
    if manifest.tasks_text:
        lines += ["", manifest.tasks_text.strip()]
    else:
        for name, task in manifest.tasks.items():
            lines += ["", f"[task.{name}]", *render_task(task)]
    for golden in manifest.golden:
        lines += ["", "[[golden]]"] + ([f"task = {_text(golden.task)}"] if golden.task else [])
        lines += [
            f"prompt = {_text(golden.prompt)}",
            f"tokens = {golden.tokens}",
            f"text = {_text(golden.text)}",
        ]
    return "\n".join(lines) + "\n"


def render_task(task: Task) -> list[str]:
    lines = [f"{key} = {_text(value)}" for key in ("system", "template") if (value := getattr(task, key)) is not None]
    if task.schema:
        lines.append(f"output = {{ json-schema = {_text(task.schema)} }}")
    for key in ("max_tokens", "deadline_ms"):
        if (value := getattr(task, key)) is not None:
            lines.append(f"{key.replace('_', '-')} = {value}")
    if task.temperature is not None:
        lines.append(f"temperature = {float(task.temperature)}")
    if task.confidence_fields:
        lines.append(f"confidence-fields = [{', '.join(map(_text, task.confidence_fields))}]")
    for key in ("confidence_temperature", "min_confidence"):
        if (value := getattr(task, key)) is not None:
            lines.append(f"{key.replace('_', '-')} = {float(value)}")
    return lines


def read_text(folder: Path) -> str:
    """The manifest's text, its line ends as they are."""
    file = folder / MANIFEST
    try:
        return file.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: no {MANIFEST}, so no bundle; `slmd-model export` writes one", 66) from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8; save it as such") from None


def parse(file: Path, text: str) -> dict:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file}: {error}") from None


def read(folder: Path) -> Manifest:
    """The manifest of a bundle, without its hashes and without what nothing here asks for."""
    content = parse(folder / MANIFEST, read_text(folder))
    try:
        return Manifest(
            content["name"], content["version"], content.get("license"), content.get("default-task"),
            {name: task_of(table) for name, table in content.get("task", {}).items()},
            [Golden(g["prompt"], g["tokens"], g["text"], g.get("task")) for g in content.get("golden", [])],
            content.get("kv"), content.get("counter"), content.get("latency", {}),
            Static(*(content["static"][key] for key in SHAPES)) if "static" in content else None,
        )  # fmt: skip
    except KeyError as error:
        raise UserError(f"{folder / MANIFEST}: lacks `{error.args[0]}`; docs/models.md has the keys") from None


def task_of(table: dict) -> Task:
    """A task's table; `schema` is None for other forms of answers."""
    output = table.get("output")
    return Task(
        table.get("system"), output.get("json-schema") if isinstance(output, dict) else None,
        table.get("max-tokens"), table.get("deadline-ms"), table.get("temperature"),
        tuple(table.get("confidence-fields", ())), table.get("confidence-temperature"), table.get("min-confidence"),
        table.get("template"),
    )  # fmt: skip


def read_tasks(path: Path) -> tuple[str, dict[str, Task], tuple[Path, ...]]:
    """A file of [task.NAME] tables: its text, the tasks, and the schemas and grammars beside it that they name."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; it holds the [task.NAME] tables of the bundle", 66)
    text = path.read_text(encoding="utf-8")
    content = parse(path, text)
    tables = content.get("task")
    # Behind another table's header, a key before the first one here would be that table's.
    if (
        content.keys() != {"task"}
        or parse(path, f"[files]\n{text}") != {"files": {}, "task": tables}
        or not all(isinstance(table, dict) for table in tables.values())
    ):
        raise UserError(f"{path}: may hold [task.NAME] tables and nothing else; other keys go into {MANIFEST} by hand")
    outputs = [table.get("output") for table in tables.values()]
    names = [o[key] for o in outputs if isinstance(o, dict) for key in ("json-schema", "lark") if key in o]
    files = tuple(path.parent / name for name in dict.fromkeys(names))
    for name, file in zip(dict.fromkeys(names), files, strict=True):
        if Path(name).name != name or not file.is_file():
            raise UserError(f"{path}: names {name}, which must be a file beside it", 66)
    return text, {name: task_of(table) for name, table in tables.items()}, files


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a bundle but the manifest and its signature, sub-folders too."""
    beside = {folder / MANIFEST, folder / SIGNATURE}
    paths = [p for p in folder.rglob("*") if p.is_file() and p not in beside]
    return {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(paths)}


def write(folder: Path, manifest: Manifest) -> None:
    """Hash every file of `folder` and write `slmd.toml` beside them, from nothing."""
    text = render(manifest, hashes(folder))
    tomllib.loads(text)  # a mistake in quoting must fail here, not on the device
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def seal(folder: Path, **keys: int | str) -> None:
    """Renew the hashes in `slmd.toml` and set top-level `keys`; all else that is written there stays as it is."""

    def change(manifest: tomlkit.TOMLDocument) -> None:
        for key, value in keys.items():
            manifest[key] = value

    edit(folder, change)


def edit(folder: Path, change: Callable[[tomlkit.TOMLDocument], None]) -> None:
    """Change `slmd.toml`, comments and order kept, and renew its hashes.

    A signature is of the old text then, and is removed.
    """
    file, text = folder / MANIFEST, read_text(folder)
    parse(file, text)
    manifest = tomlkit.parse(text)
    change(manifest)
    files, found = manifest.setdefault("files", tomlkit.table()), hashes(folder)
    for name in [name for name in files if name not in found]:
        del files[name]
    for name, digest in found.items():
        if files.get(name) != digest:
            files[name] = digest
    written = tomlkit.dumps(manifest)
    if "\r\n" in text:
        written = written.replace("\r\n", "\n").replace("\n", "\r\n")
    if parse(file, written)["files"] != found:
        raise UserError(f"{file}: cannot be changed as it is written; [files] needs a line for each file")
    file.write_bytes(written.encode())
    (folder / SIGNATURE).unlink(missing_ok=True)


def verify(folder: Path) -> list[str]:
    """Problems of a bundle on disk, empty when it is whole."""
    files = parse(folder / MANIFEST, read_text(folder)).get("files")
    if not files:
        return [f"{MANIFEST}: lists no files; `slmd-model seal` does"]
    missing = [f"{name}: missing" for name in files if not (folder / name).is_file()]
    wrong = [
        f"{name}: SHA-256 differs"
        for name, digest in files.items()
        if (folder / name).is_file() and sha256(folder / name) != digest
    ]
    return missing + wrong
