"""`slmd.toml`: the manifest that makes a folder of model files a bundle the daemon loads.

Keys are kebab-case; the daemon rejects unknown ones. Every other file of the
bundle is listed with its SHA-256, so that a damaged download is refused.
"""

import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST = "slmd.toml"
SIGNATURE = "slmd.toml.minisig"  # minisign's, of the manifest: not listed in it
FORMAT = 1


@dataclass(frozen=True)
class Task:
    """A named task; `schema` is a file name inside the bundle. docs/answers.md explains how sure answers are."""

    system: str
    schema: str | None = None
    max_tokens: int = 64
    deadline_ms: int = 2000
    temperature: float = 0.0
    confidence_fields: tuple[str, ...] = ()
    confidence_temperature: float | None = None
    min_confidence: float | None = None


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
    license: str
    default_task: str | None = None
    tasks: dict[str, Task] = field(default_factory=dict)
    golden: list[Golden] = field(default_factory=list)
    kv: str | None = None  # how the graph keeps keys and values; None: as floats
    counter: int | None = None  # a device refuses a lower one than it has had; None: 0
    latency: dict[str, int] = field(default_factory=dict)  # max-decode-ms, max-first-token-ms
    static: Static | None = None  # instead of one graph of any shape


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def render(manifest: Manifest, files: dict[str, str]) -> str:
    """The manifest as TOML text; `files` maps a name to its SHA-256."""
    lines = [f"format = {FORMAT}"]
    lines += [f"{key} = {_text(getattr(manifest, key))}" for key in ("name", "version", "license")]
    if manifest.counter is not None:
        lines.append(f"counter = {manifest.counter}")
    if manifest.kv:
        lines.append(f"kv = {_text(manifest.kv)}")
    if manifest.default_task:
        lines.append(f"default-task = {_text(manifest.default_task)}")
    if manifest.static:
        pair = manifest.static
        lines += ["", "[static]"] + [f"{key} = {_text(getattr(pair, key))}" for key in ("prefill", "decode")]
        lines += [f"{key} = {getattr(pair, key)}" for key in ("chunk", "context")]
    lines += ["", "[files]"] + [f"{_text(name)} = {_text(digest)}" for name, digest in sorted(files.items())]
    if manifest.latency:
        lines += ["", "[latency]"] + [f"{key} = {ms}" for key, ms in manifest.latency.items()]
    for name, task in manifest.tasks.items():
        lines += ["", f"[task.{name}]", f"system = {_text(task.system)}"]
        if task.schema:
            lines.append(f"output = {{ json-schema = {_text(task.schema)} }}")
        lines += [
            f"max-tokens = {task.max_tokens}",
            f"deadline-ms = {task.deadline_ms}",
            f"temperature = {task.temperature:.1f}",
        ]
        if task.confidence_fields:
            lines.append(f"confidence-fields = [{', '.join(map(_text, task.confidence_fields))}]")
        for key in ("confidence_temperature", "min_confidence"):
            if (value := getattr(task, key)) is not None:
                lines.append(f"{key.replace('_', '-')} = {float(value)}")
    for golden in manifest.golden:
        lines += ["", "[[golden]]"] + ([f"task = {_text(golden.task)}"] if golden.task else [])
        lines += [
            f"prompt = {_text(golden.prompt)}",
            f"tokens = {golden.tokens}",
            f"text = {_text(golden.text)}",
        ]
    return "\n".join(lines) + "\n"


def read(folder: Path) -> Manifest:
    """The manifest of a bundle, without its hashes."""
    content = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    tasks = {
        name: Task(
            task["system"], task.get("output", {}).get("json-schema"), task["max-tokens"], task["deadline-ms"],
            task["temperature"], tuple(task.get("confidence-fields", ())), task.get("confidence-temperature"),
            task.get("min-confidence"),
        )
        for name, task in content.get("task", {}).items()
    }  # fmt: skip
    answers = [Golden(g["prompt"], g["tokens"], g["text"], g.get("task")) for g in content.get("golden", [])]
    return Manifest(
        content["name"], content["version"], content["license"], content.get("default-task"), tasks, answers,
        content.get("kv"), content.get("counter"), content.get("latency", {}),
        Static(**content["static"]) if "static" in content else None,
    )  # fmt: skip


def write(folder: Path, manifest: Manifest) -> None:
    """Hash every file of `folder` (sub-folders too) and write `slmd.toml` beside them."""
    beside = {folder / MANIFEST, folder / SIGNATURE}
    paths = [p for p in folder.rglob("*") if p.is_file() and p not in beside]
    text = render(manifest, {p.relative_to(folder).as_posix(): sha256(p) for p in paths})
    tomllib.loads(text)  # a mistake in quoting must fail here, not on the device
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def verify(folder: Path) -> list[str]:
    """Problems of a bundle on disk, empty when it is whole."""
    files = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    missing = [f"{name}: missing" for name in files if not (folder / name).is_file()]
    wrong = [
        f"{name}: SHA-256 differs"
        for name, digest in files.items()
        if (folder / name).is_file() and sha256(folder / name) != digest
    ]
    return missing + wrong
