"""The commands of `slmd-model` that make and measure models from JSON-lines tasks."""

import json
from pathlib import Path

from slmd_model.errors import UserError

FROZEN = Path(__file__).resolve().parents[1] / "tests"
WITH_BAR = {"train", "finetune", "calibrate", "eval", "compare"}


def add(commands) -> None:
    add_data(commands)
    add_train(commands)
    add_finetune(commands)
    add_unpack(commands)
    add_export_default(commands)
    add_calibrate(commands)
    add_eval(commands)
    add_compare(commands)


def add_data(commands) -> None:
    p = commands.add_parser(
        "data",
        help="the default model's training and evaluation data",
        description="Write OUT_DIR/{train,choose,report}.jsonl and the JSON schemas of the tasks: the project's own "
        "grammars, and public data in --sources (commands/*.jsonl, vehicle/obd-trouble-codes.csv, factory/*.csv).",
    )
    p.add_argument("out", type=Path, metavar="OUT_DIR")
    p.add_argument("--sources", type=Path, default=Path("../shared/data"), metavar="DIR", help="default: %(default)s")
    p.add_argument(
        "--frozen", type=Path, default=FROZEN, metavar="DIR", help="hand-written sentences (default: %(default)s)"
    )
    p.add_argument("--seed", type=int, default=1, help="another one makes other lines (default: %(default)s)")
    p.add_argument(
        "--share", type=float, default=1.0, metavar="X",
        help="this part of the usual number of lines (default: %(default)s)",
    )  # fmt: skip
    p.set_defaults(run=run_data)


def add_train(commands) -> None:
    p = commands.add_parser(
        "train",
        help="a model of a few million parameters from nothing",
        description='Train on DATA_DIR/train.jsonl (JSON lines {"task", "text", "answer"}) and write RUN_DIR: hf, '
        "log.jsonl, loss.png and checkpoint.pt. DATA_DIR/choose.jsonl, if it is there, is answered at every save. The "
        "same command goes on after a stop. Uses a GPU if torch sees one.",
    )
    p.add_argument("data", type=Path, metavar="DATA_DIR")
    p.add_argument("out", type=Path, metavar="RUN_DIR")
    p.add_argument("--from", dest="start", type=Path, metavar="HF_DIR", help="go on with this model, in its shape")
    p.add_argument("--steps", type=int, default=4000, help="of training, in all (default: %(default)s)")
    p.add_argument(
        "--decay-from", type=float, default=0.6, metavar="SHARE",
        help="of the steps; then the rate falls (default: %(default)s)",
    )  # fmt: skip
    p.add_argument("--batch", type=int, default=8192, metavar="TOKENS", help="of one step (default: %(default)s)")
    p.add_argument("--learning-rate", type=float, default=3e-3, help="the highest (default: %(default)s)")
    p.add_argument(
        "--save-every", type=int, default=250, metavar="STEPS", help="and answer choose.jsonl (default: %(default)s)"
    )
    p.add_argument(
        "--dropout", action="append", default=[], type=share_of_task, metavar="TASK=SHARE",
        help="for a task with few sentences, met many times; once for each such task (default: none)",
    )  # fmt: skip
    p.add_argument("--hidden", type=int, default=256, help="width, a multiple of --heads (default: %(default)s)")
    p.add_argument("--layers", type=int, default=5, help="number of them (default: %(default)s)")
    p.add_argument("--feed-forward", type=int, default=640, help="width inside a layer's MLP (default: %(default)s)")
    p.add_argument("--heads", type=int, default=8, help="of attention, a multiple of --kv-heads (default: %(default)s)")
    p.add_argument("--kv-heads", type=int, default=2, help="heads of keys and values (default: %(default)s)")
    p.add_argument("--vocabulary", type=int, default=4096, help="tokens to learn at most (default: %(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of weights, order and dropout (default: %(default)s)")
    p.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
    p.set_defaults(run=run_train)


def add_finetune(commands) -> None:
    p = commands.add_parser(
        "finetune",
        help="LoRA of a local checkpoint, merged",
        description='Train an adapter of HF_DIR on LINES (JSON lines {"task", "text", "answer"}), merge it, and write '
        "RUN_DIR/hf, log.jsonl and loss.png. Uses a GPU if torch sees one. Nothing is downloaded.",
    )
    p.add_argument("hf", type=Path, metavar="HF_DIR")
    p.add_argument("lines", type=Path, metavar="LINES")
    p.add_argument("out", type=Path, metavar="RUN_DIR")
    p.add_argument("--steps", type=int, default=500, help="of training (default: %(default)s)")
    p.add_argument("--batch", type=int, default=8, metavar="LINES", help="of one step (default: %(default)s)")
    p.add_argument("--rank", type=int, default=16, help="of the adapter's matrices (default: %(default)s)")
    p.add_argument("--learning-rate", type=float, default=2e-4, help="the highest (default: %(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of the adapter, order and dropout (default: %(default)s)")
    p.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
    p.set_defaults(run=run_finetune)


def add_unpack(commands) -> None:
    p = commands.add_parser(
        "unpack",
        help="the checkpoint of a bundle whose own is gone",
        description="Write HF_DIR from the 4- or 8-bit weights of BUNDLE, to go on training (`train --from`).",
    )
    p.add_argument("bundle", type=Path, metavar="BUNDLE")
    p.add_argument("out", type=Path, metavar="HF_DIR")
    p.set_defaults(run=run_unpack)


def add_export_default(commands) -> None:
    p = commands.add_parser(
        "export-default",
        help="the trained model to the bundle that slmd embeds",
        description="Export HF_DIR with the schemas of DATA_DIR to OUT_DIR, weights inside model.onnx.",
    )
    p.add_argument("hf", type=Path, metavar="HF_DIR")
    p.add_argument("data", type=Path, metavar="DATA_DIR")
    p.add_argument("out", type=Path, metavar="OUT_DIR")
    p.add_argument("--precision", choices=("int8", "int4", "fp32"), default="int4")
    p.add_argument("--algorithm", choices=("default", "rtn", "k_quant"), default="")
    p.add_argument("--mixed", default="", metavar="GROUP:TYPE")
    p.set_defaults(run=run_export_default)


def add_eval(commands) -> None:
    p = commands.add_parser(
        "eval",
        help="the figures of a bundle, through the daemon's socket",
        description="Serve BUNDLE by `slmd serve` on a temporary configuration, or ask the daemon at --socket, and "
        "compare its answers to those of the LINES files. Latency is given twice: `ms` is the daemon's own total, "
        "`socket_ms` what the client waited.",
    )
    p.add_argument("bundle", type=Path, metavar="BUNDLE")
    p.add_argument("lines", type=Path, nargs="+", metavar="LINES")
    p.add_argument("--socket", type=Path, metavar="PATH", help="a daemon that serves the bundle already")
    add_daemon(p)
    add_part(p)
    p.add_argument("--task", action="append", metavar="T", help="only lines of this task (may be repeated)")
    p.add_argument("--plot", type=Path, metavar="PNG", help="draw how far the confidence can be relied on")
    p.add_argument("--wrong", type=Path, metavar="FILE", help="write the lines that were answered wrongly")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    p.set_defaults(run=run_eval)


def add_calibrate(commands) -> None:
    p = commands.add_parser(
        "calibrate",
        help="how sure a bundle's tasks are, into its manifest",
        description="Fit the confidence of every task that LINES have, by `slmd calibrate`, and write it to BUNDLE: "
        "lines to choose by, neither trained on nor reported.",
    )
    p.add_argument("bundle", type=Path, metavar="BUNDLE")
    p.add_argument("lines", type=Path, metavar="LINES")
    for kind, of in (
        ("declined", "what is within scope is declined"),
        ("wrong", "the answers is wrong and not declined"),
    ):
        p.add_argument(
            f"--{kind}", action="append", default=[], type=share_of_task, metavar="TASK=SHARE",
            help=f"set min-confidence so that at most this share of {of} (may be repeated)",
        )  # fmt: skip
    add_daemon(p)
    p.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    p.set_defaults(run=run_calibrate)


def share_of_task(text: str) -> tuple[str, float]:
    task, _, share = text.partition("=")
    value = float(share)  # argparse tells of a ValueError
    if not 0 < value < 1:
        raise ValueError
    return task, value


def add_compare(commands) -> None:
    p = commands.add_parser(
        "compare",
        help="bundles of one model side by side",
        description="Serve each BUNDLE in turn: quality by source, with the difference to the first bundle (paired "
        "bootstrap, McNemar's test of exact answers), size, memory, tokens/s, latency as the daemon's own total and "
        "as the client waited at the socket.",
    )
    p.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    p.add_argument("--lines", type=Path, action="append", required=True, metavar="FILE")
    add_daemon(p)
    add_part(p)
    p.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    p.set_defaults(run=run_compare)


def add_part(p) -> None:
    """Which of the lines are asked."""
    group = p.add_mutually_exclusive_group()
    group.add_argument(
        "--sample", type=count, metavar="N",
        help="only N lines, spread over all: one drawn from each of N equal stretches, so that tasks and sources keep "
        "their shares; the same ones every time",
    )  # fmt: skip
    group.add_argument(
        "--limit", type=count, metavar="N", help="only the first N lines of each file, which may be of one task"
    )


def count(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def add_daemon(p) -> None:
    p.add_argument("--slmd", default="slmd", metavar="PROGRAM", help="the daemon (default: %(default)s on the path)")
    p.add_argument(
        "--engine", choices=("auto", "ort", "tract"), default="auto", help="that it answers with (default: %(default)s)"
    )
    p.add_argument("--threads", type=int, default=2, help="that it answers with (default: %(default)s)")


def run_data(args) -> None:
    from slmd_model.data.build import build

    build(args.sources, args.frozen, args.out, args.seed, args.share)


def run_train(args) -> None:
    if len(dict(args.dropout)) < len(args.dropout):
        raise UserError("one --dropout for each task", 64)
    try:
        train_as_told(args)
    except KeyboardInterrupt:  # while data is read; `train` handles the signals from the first step on
        raise UserError("stopped before its first step; give the same command again", 130) from None


def train_as_told(args) -> None:
    import torch

    from slmd_model.train import Settings, Shape, train

    if args.threads:
        torch.set_num_threads(args.threads)
    shape = Shape(args.hidden, args.layers, args.feed_forward, args.heads, args.kv_heads, args.vocabulary)
    settings = Settings(
        steps=args.steps, tokens_per_batch=args.batch, learning_rate=args.learning_rate, decay_from=args.decay_from,
        save_every=args.save_every, seed=args.seed, dropout=dict(args.dropout),
    )  # fmt: skip
    train(args.data, args.out, shape, settings, args.start)


def run_finetune(args) -> None:
    import torch

    from slmd_model.finetune import Settings, finetune

    if args.threads:
        torch.set_num_threads(args.threads)
    settings = Settings(
        steps=args.steps, lines_per_batch=args.batch, rank=args.rank, alpha=2 * args.rank,
        learning_rate=args.learning_rate, seed=args.seed,
    )  # fmt: skip
    finetune(args.hf, args.lines, args.out, settings)


def run_unpack(args) -> None:
    from slmd_model.unpack import unpack

    unpack(args.bundle, args.out)


def run_export_default(args) -> None:
    from slmd_model import default_bundle
    from slmd_model.genai import Options

    options = Options(precision=args.precision, algorithm=args.algorithm, mixed=args.mixed)
    print(*default_bundle.make(args.hf, args.data, args.out, options), sep="\n")


def run_calibrate(args) -> None:
    from slmd_model.calibrate import Bound, calibrate

    chosen = [(task, Bound(kind, share)) for kind in ("declined", "wrong") for task, share in getattr(args, kind)]
    bounds = dict(chosen)
    if len(bounds) < len(chosen):
        raise UserError("one --declined or --wrong for each task", 64)
    lines = read([args.lines], None)
    found = calibrate(args.slmd, args.bundle, args.lines, lines, args.engine, args.threads, bounds)
    show({"tasks": found}, args.json)


def read(paths: list[Path], limit: int | None, tasks: list[str] | None = None, sample: int | None = None) -> list[dict]:
    """Lines whose answers are known whole."""
    from slmd_model import evaluate
    from slmd_model.batches import read_lines

    found = []
    for path in paths:
        lines = list(enumerate(read_lines(path)[:limit], 1))
        own = [(number, line) for number, line in lines if not tasks or line["task"] in tasks]
        if opened := next((number for number, line in own if line.get("open")), None):
            raise UserError(f'{path}:{opened}: "open": only the beginning of the answer is known; leave such lines out')
        found += [line for _, line in own]
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: no line is of the task {' or '.join(tasks or [])}")
    return evaluate.sample(found, sample)


def part(args, lines: list[dict]) -> dict:
    """Which of the lines were asked, for the figures' file."""
    return {"files": list(map(str, args.lines)), "lines": len(lines), "sample": args.sample, "limit": args.limit}


def run_eval(args) -> None:
    from slmd_model import daemon, evaluate

    lines = read(args.lines, args.limit, args.task, args.sample)
    if args.socket:
        facts = evaluate.facts(args.socket, args.bundle, None)
        rows = list(evaluate.run(args.socket, lines, args.bundle))
    else:
        with daemon.serve(args.slmd, args.bundle, args.engine, args.threads) as (socket, _):
            facts = evaluate.facts(socket, args.bundle, args.threads)
            rows = list(evaluate.run(socket, lines, args.bundle))
    answers = [(line, answer) for line, answer, _ in rows]
    if args.plot:
        evaluate.plot(answers, args.plot)
    if args.wrong:
        write_wrong(rows, args.wrong)
    show({"run": facts | part(args, lines) | {"tasks": args.task}} | evaluate.report(answers), args.json)
    print(evaluate.TIMES)


def write_wrong(rows: list[tuple], path: Path) -> None:
    wrong = [line | {"got": reply["text"]} for line, answer, reply in rows if not answer.exact]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in wrong), encoding="utf-8")


def run_compare(args) -> None:
    from slmd_model.compare import compare, table

    lines = read(args.lines, args.limit, None, args.sample)
    found = compare(args.slmd, args.bundles, lines, args.engine, args.threads)
    for figures in found.values():
        figures["run"] |= part(args, lines)
    print(table(found))
    save(found, args.json)


def show(figures: dict, path: Path | None) -> None:
    """One line of JSON for each entry, and all of it in a file."""
    for group, entries in figures.items():
        print(group)
        for name, value in entries.items():
            print(f"  {name} {json.dumps(value)}")
    save(figures, path)


def save(figures: dict, path: Path | None) -> None:
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n")
