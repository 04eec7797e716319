"""`slmd-model calibrate`: how sure a bundle's tasks are, fitted by `slmd calibrate` and written into its manifest."""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slmd_model import bundle, daemon, evaluate
from slmd_model.errors import UserError
from slmd_model.scores import REFUSAL, Answer

LEAST = 20  # lines of a task, as `slmd calibrate` asks for


@dataclass(frozen=True)
class Bound:
    """What a `min-confidence` is chosen by: at most this share of the answers may be `kind`."""

    kind: str  # "declined" (within scope), or "wrong" (and told as sure)
    share: float

    def choose(self, answers: Sequence[Answer]) -> float:
        """In hundredths: the largest that declines little enough, or the smallest that leaves little enough wrong."""
        declines = self.kind == "declined"
        group = [a for a in answers if not declines or a.want != REFUSAL]
        for hundredths in range(99, 0, -1) if declines else range(100):
            unsure = [(a.confidence or 0.0) < hundredths / 100 for a in group]
            bad = sum(
                a.refused or low if declines else not a.exact and not low for a, low in zip(group, unsure, strict=True)
            )
            if bad <= self.share * len(group):
                return hundredths / 100
        return 0.0 if declines else 1.0


def calibrate(
    slmd: str, folder: Path, path: Path, lines: list[dict], engine: str, bounds: dict[str, Bound]
) -> dict[str, dict]:
    """Fit `confidence-temperature` of every task on the lines of the file `path`; figures by task.

    `bounds` names tasks that get a `min-confidence`.
    """
    program = shutil.which(slmd)
    if program is None:
        raise UserError(f"{slmd}: not found; name the daemon with --slmd", 69)
    found = {}
    manifest = bundle.read(folder)
    for name in manifest.tasks:
        if sum(line["task"] == name for line in lines) >= LEAST:
            found[name] = fitted(program, folder, path, engine, name)
    if unknown := [name for name in bounds if name not in found]:
        raise UserError(f"{path}: fewer than {LEAST} lines of {', '.join(unknown)}", 65)
    rewrite(folder, manifest, {name: {"confidence_temperature": one["temperature"]} for name, one in found.items()})
    if bounds:
        own = [line for line in lines if line["task"] in bounds]
        with daemon.serve(slmd, folder, engine) as (socket, _):
            rows = [(line["task"], answer) for line, answer, _ in evaluate.run(socket, own, folder)]
        chosen = {name: by.choose([a for task, a in rows if task == name]) for name, by in bounds.items()}
        rewrite(folder, bundle.read(folder), {name: {"min_confidence": value} for name, value in chosen.items()})
        for name, value in chosen.items():
            found[name]["min_confidence"] = value
    return found


def fitted(program: str, folder: Path, path: Path, engine: str, task: str) -> dict:
    """What `slmd calibrate --json` says."""
    command = [program, "calibrate", "--dry-run", "--json", "--engine", engine, "--model", str(folder), "--task", task]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{task}: {done.stderr.strip()}", done.returncode)
    said = json.loads(done.stdout)
    return {key: said[key] for key in ("examples", "right", "before", "after")} | {
        "temperature": round(said["temperature"], 3)
    }


def rewrite(folder: Path, manifest: bundle.Manifest, changes: dict[str, dict]) -> None:
    tasks = {name: dataclasses.replace(task, **changes.get(name, {})) for name, task in manifest.tasks.items()}
    bundle.write(folder, dataclasses.replace(manifest, tasks=tasks))
