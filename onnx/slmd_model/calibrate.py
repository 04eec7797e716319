"""`slmd-model calibrate`: how sure a bundle's tasks are, fitted by `slmd calibrate` and written into its manifest."""

import json
import shutil
import subprocess
import tempfile
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

    def choose(self, answers: Sequence[Answer]) -> float | None:
        """In hundredths: the largest that declines little enough, or the smallest that leaves little enough wrong."""
        declines = self.kind == "declined"
        group = [a for a in answers if not declines or a.want != REFUSAL]
        for hundredths in range(99, 0, -1) if declines else range(1, 100):
            bound = hundredths / 100
            declined = [a.refused or (a.confidence or 0.0) < bound for a in group]
            bad = declined if declines else [not a.sure_right and not d for a, d in zip(group, declined, strict=True)]
            if group and sum(bad) <= self.share * len(group):
                return bound
        return None


def calibrate(
    slmd: str, folder: Path, path: Path, lines: list[dict], engine: str, threads: int, bounds: dict[str, Bound]
) -> dict[str, dict]:
    """Fit `confidence-temperature` of every task on the lines of the file `path`; figures by task.

    `bounds` names tasks that get a `min-confidence`.
    """
    program = shutil.which(slmd)
    if program is None:
        raise UserError(f"{slmd}: not found; name the daemon with --slmd", 69)
    if not (folder / bundle.MANIFEST).is_file():
        raise UserError(f"{folder}: no {bundle.MANIFEST}", 66)
    tasks = bundle.read(folder).tasks
    count = {name: sum(line["task"] == name for line in lines) for name in {*tasks, *bounds}}
    if unknown := [name for name in bounds if name not in tasks]:
        raise UserError(f"{folder}: no task {', '.join(unknown)}; there is {', '.join(tasks)}", 65)
    fit = [name for name in tasks if count[name] >= LEAST]
    if few := [name for name in bounds if name not in fit] or ([] if fit else list(tasks)):
        raise UserError(f"{path}: fewer than {LEAST} lines of {', '.join(few)}", 65)
    found = {name: fitted(program, folder, path, engine, threads, name) for name in fit}
    # A bound of an earlier fit means something else now.
    rewrite(folder, {k: {"confidence-temperature": v["temperature"], "min-confidence": None} for k, v in found.items()})
    if bounds:
        own = [line for line in lines if line["task"] in bounds]
        with daemon.serve(slmd, folder, engine, threads) as (socket, _):
            rows = [(line["task"], answer) for line, answer, _ in evaluate.run(socket, own, folder)]
        for name, by in bounds.items():
            value = by.choose([a for task, a in rows if task == name])
            if value is None:
                raise UserError(f"{name}: no min-confidence has at most {by.share:.3g} {by.kind}")
            found[name]["min_confidence"] = value
        rewrite(folder, {name: {"min-confidence": found[name]["min_confidence"]} for name in bounds})
    return found


def fitted(program: str, folder: Path, path: Path, engine: str, threads: int, task: str) -> dict:
    """What `slmd calibrate --json` says."""
    with tempfile.TemporaryDirectory(prefix="slmd-calibrate-") as name:
        config = Path(name) / "config.toml"  # not this machine's own, whose tasks may have the same names
        config.write_text(daemon.config(folder, Path(name), engine, threads), encoding="utf-8")
        command = [program, "calibrate", "--dry-run", "--json", "--config", str(config), "--task", task, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{task}: {done.stderr.strip()}", done.returncode)
    said = json.loads(done.stdout)
    return {key: said[key] for key in ("examples", "right", "before", "after")} | {
        "temperature": round(said["temperature"], 3)
    }


def rewrite(folder: Path, changes: dict[str, dict]) -> None:
    """Change keys of the manifest's tasks; None takes one out."""

    def change(manifest) -> None:
        for task, values in changes.items():
            table = manifest["task"][task]
            for key, value in values.items():
                if value is not None:
                    table[key] = value
                elif key in table:
                    del table[key]

    bundle.edit(folder, change)
