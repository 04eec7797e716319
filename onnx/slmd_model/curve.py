"""Draws the loss of a training as a PNG."""

import json
from pathlib import Path


def plot(log: Path, out: Path) -> None:
    """`log` has a JSON object a line; those with `loss` are drawn over their `step`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    points = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot(*zip(*points, strict=True) if points else ([], []))
    axes.set(xlabel="step", ylabel="loss of the answers' tokens (nats)", yscale="log")
    axes.grid(True, which="both", alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=120)
    pyplot.close(figure)
