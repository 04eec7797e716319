"""The command `slmd-model`: arguments in, one of the modules called, errors as one line."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from slmd_model import __version__, cli_training
from slmd_model.errors import UserError

EPILOG = """\
examples:
  slmd-model make-random --shape tiny tiny-hf
  slmd-model export tiny-hf tiny-int4 --precision int4
  slmd-model export tiny-hf tiny-tjs --precision fp32 --layout transformers-js
  slmd-model export tiny-hf tiny-int4-kv8 --precision int4 --kv int8
  slmd-model quantise-kv onnx/default default-kv8
  slmd-model export tiny-hf tiny-static --static-shapes --precision int8 --chunk 32 --context 256
  slmd-model reference-logits tiny-hf tiny-reference --tokens 48
  slmd-model convert-llama2c stories260k/ stories-bundle --precision int8
  slmd-model verify stories-bundle

the default model, from nothing:
  slmd-model data run/data --sources ../shared/data
  slmd-model train run/data run
  slmd-model export-default run/hf run/data onnx/default --mixed last_matmul:int8
  slmd-model calibrate onnx/default run/data/choose.jsonl --declined intent=0.05
  slmd-model eval onnx/default run/data/report.jsonl --json run/report.json
  slmd-model compare run/fp32 run/int8 onnx/default --lines run/data/report.jsonl

a model of your own, from a checkpoint and JSON lines of {"task", "text", "answer"}:
  slmd-model finetune HF_DIR train.jsonl run
  slmd-model export run/hf bundle --tasks tasks.toml --golden-prompts prompts.txt
  slmd-model calibrate bundle choose.jsonl
  slmd-model eval bundle report.jsonl

Weights and data are never downloaded; checkpoints are folders on this disk.
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="slmd-model",
        description="Make, check and train the ONNX model bundles that slmd loads.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_convert(commands)
    add_make_random(commands)
    add_export(commands)
    add_quantise_kv(commands)
    add_reference(commands)
    add_verify(commands)
    add_seal(commands)
    cli_training.add(commands)
    return top


def add_convert(commands) -> None:
    p = commands.add_parser(
        "convert-llama2c",
        help="a llama2.c checkpoint to a bundle",
        description="Read SRC_DIR (one legacy .bin checkpoint and its tok*.bin) and write the bundle OUT_DIR.",
    )
    p.add_argument("source", type=Path, metavar="SRC_DIR")
    p.add_argument("out", type=Path, metavar="OUT_DIR")
    p.add_argument("--precision", choices=("fp32", "int8", "int4"), default="fp32")
    p.add_argument("--exact", action="store_true", help="weights with zero points, activations in fp32")
    p.add_argument("--full-logits", action="store_true", help="logits for every token, not only the last")
    add_kv(p)
    p.set_defaults(run=run_convert)


def add_make_random(commands) -> None:
    p = commands.add_parser(
        "make-random",
        help="a checkpoint of seeded noise that memorised a few sentences",
        description="Write the Hugging Face folder OUT_DIR at a public shape, for engine tests and benches.",
    )
    p.add_argument("out", type=Path, metavar="OUT_DIR")
    p.add_argument("--shape", choices=("tiny", "smollm2-135m", "qwen3-0.6b"), default="tiny")
    p.add_argument("--tokenizer", type=Path, metavar="DIR", help="use DIR/tokenizer.json instead of one made here")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--memorise", type=int, metavar="STEPS", help="training steps (default: 300, 40 and 0 by shape)")
    p.set_defaults(run=run_make_random)


def add_export(commands) -> None:
    p = commands.add_parser(
        "export",
        help="a Hugging Face checkpoint to a bundle",
        description="Export HF_DIR to the bundle OUT_DIR: graph, tokenizer, slmd.toml with hashes and golden "
        "answers (greedy tokens of PyTorch fp32, cut where the fp32 margin is below --golden-margin and "
        "checked against the exported graph).",
    )
    p.add_argument("hf", type=Path, metavar="HF_DIR")
    p.add_argument("out", type=Path, metavar="OUT_DIR")
    p.add_argument("--name", help="name in slmd.toml (default: OUT_DIR's)")
    p.add_argument("--version", default="0.1.0", help="version in slmd.toml (default: %(default)s)")
    p.add_argument("--license", metavar="SPDX", help="licence in slmd.toml, as an SPDX expression (default: none)")
    p.add_argument(
        "--tasks",
        type=Path,
        metavar="FILE",
        help="TOML with the [task.NAME] tables of slmd.toml; schemas and grammars that they name lie beside it",
    )
    p.add_argument(
        "--precision",
        choices=("int4", "int8", "fp16", "fp32"),
        default="int4",
        help="of the weights (default int4); fp16 in the transformers-js layout only: stored so, computed in float32",
    )
    p.add_argument(
        "--layout",
        choices=("genai", "transformers-js"),
        default="genai",
        help="genai: fused operators, model.onnx + genai_config.json; transformers-js: standard operators, "
        "onnx/model.onnx (fp32), onnx/model_fp16.onnx or onnx/model_q4.onnx (int4) + config.json",
    )
    p.add_argument("--full-logits", action="store_true", help="do not prune the head (teacher forcing, speculation)")
    p.add_argument("--asymmetric", action="store_true", help="weights with zero points")
    p.add_argument("--block-size", type=int, choices=(16, 32, 64, 128), default=32)
    p.add_argument("--no-fuse", action="store_true", help="leave gate and up projections apart")
    p.add_argument("--algorithm", choices=("default", "rtn", "k_quant"), default="", help="how to round weights")
    p.add_argument("--mixed", default="", metavar="GROUP:TYPE", help='other bits for a group: "last_matmul:int8"')
    p.add_argument("--inline", action="store_true", help="weights inside model.onnx")
    add_kv(p)
    add_static(p)
    p.add_argument(
        "--golden-prompts",
        type=Path,
        metavar="FILE",
        help="what golden answers are of: one prompt a line, TASK and a tab before it if it is a task's "
        "(default: some general ones)",
    )
    p.add_argument("--golden-steps", type=int, default=32, metavar="N")
    p.add_argument("--golden-margin", type=float, metavar="LOGITS")
    p.set_defaults(run=run_export)


def add_kv(p) -> None:
    p.add_argument(
        "--kv",
        choices=("float", "int8"),
        default="float",
        help="how the graph keeps keys and values on ONNX Runtime; int8 (layout genai only): a quarter of the memory",
    )
    add_calibration(p)


def add_static(p) -> None:
    p.add_argument(
        "--static-shapes",
        action="store_true",
        help="a pair of graphs of fixed shapes in standard operators, for NPUs (docs/npu.md): --precision fp32, or "
        "int8 for 16-bit activations, 8-bit weights and an 8-bit KV cache in QuantizeLinear/DequantizeLinear form",
    )
    p.add_argument("--chunk", type=int, default=32, metavar="N", help="tokens of one run of its prefill graph")
    p.add_argument("--context", type=int, default=1024, metavar="N", help="positions of its KV cache")


def add_calibration(p) -> None:
    p.add_argument(
        "--kv-calibration",
        "--calibration",
        type=Path,
        metavar="FILE",
        help="prompts that the model goes on with to find the scales of int8 caches and of activations: JSON lines "
        '({"text", "task"}) or texts with empty lines between (default: the golden prompts and some general texts)',
    )


def add_quantise_kv(commands) -> None:
    p = commands.add_parser(
        "quantise-kv",
        help="a bundle with its KV cache in int8",
        description="Write BUNDLE to OUT_DIR with a graph that keeps keys and values in int8. No checkpoint is needed; "
        "the golden answers must stay what they are.",
    )
    p.add_argument("bundle", type=Path, metavar="BUNDLE")
    p.add_argument("out", type=Path, metavar="OUT_DIR")
    add_calibration(p)
    p.set_defaults(run=run_quantise_kv)


def add_reference(commands) -> None:
    p = commands.add_parser(
        "reference-logits",
        help="teacher-forced fp32 logits of a seeded sequence",
        description="Write OUT.json (token ids, shape) and OUT.f32 (little-endian float32, positions x vocab).",
    )
    p.add_argument("hf", type=Path, metavar="HF_DIR")
    p.add_argument("out", type=Path, metavar="OUT")
    p.add_argument("--tokens", type=int, default=32)
    p.add_argument("--seed", type=int, default=0)
    p.set_defaults(run=run_reference)


def add_verify(commands) -> None:
    p = commands.add_parser(
        "verify",
        help="check the hashes of a bundle",
        description="Hold every file that DIR/slmd.toml lists against its SHA-256, and name those that are missing or "
        "differ. Who made them is for `slmd model verify`, which looks at the signature.",
    )
    p.add_argument("bundle", type=Path, metavar="DIR")
    p.set_defaults(run=run_verify)


def add_seal(commands) -> None:
    p = commands.add_parser(
        "seal",
        help="renew the hashes of a bundle after editing a file of it",
        description="Bring [files] of DIR/slmd.toml up to date: hashes of files that have changed, lines for new ones, "
        "none for those that are gone. All else in it stays as it is written. A signature is of the old text, and is "
        "removed: sign again.",
    )
    p.add_argument("bundle", type=Path, metavar="DIR")
    p.add_argument(
        "--counter",
        type=counter,
        metavar="N",
        help="the counter against going back: a device refuses a lower one than that of a model it has run",
    )
    p.set_defaults(run=run_seal)


def counter(text: str) -> int:
    """A number that slmd.toml takes as counter."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise ValueError(text)
    return number


def run_convert(args) -> None:
    from slmd_model import llama2c
    from slmd_model.export import Request, export
    from slmd_model.genai import Options

    with tempfile.TemporaryDirectory() as hf:
        llama2c.convert(args.source, Path(hf))
        options = Options(
            precision=args.precision, full_logits=args.full_logits, symmetric=not args.exact,
            accuracy_level=0 if args.exact else 4,
        )  # fmt: skip
        request = Request(f"stories260k-{args.precision}", license="MIT", options=options, steps=64, **kv(args))
        print(*export(Path(hf), args.out, request), sep="\n")


def run_make_random(args) -> None:
    from slmd_model import random_weights

    random_weights.make(args.shape, args.out, args.seed, args.tokenizer, args.memorise)


def run_export(args) -> None:
    from slmd_model.export import Request, export
    from slmd_model.genai import Options

    options = Options(
        precision=args.precision, full_logits=args.full_logits, symmetric=not args.asymmetric,
        block_size=args.block_size, fuse_gate_up=not args.no_fuse, algorithm=args.algorithm, mixed=args.mixed,
    )  # fmt: skip
    request = Request(
        args.name or args.out.name, args.version, args.license, layout=args.layout, options=options,
        inline=args.inline, steps=args.golden_steps, margin=args.golden_margin, **kv(args), **shapes(args),
        **asked(args),
    )  # fmt: skip
    print(*export(args.hf, args.out, request), sep="\n")


def asked(args) -> dict:
    """The fields of a request on tasks and golden prompts."""
    from slmd_model import bundle, golden

    found: dict = {}
    if args.tasks:
        found["tasks_text"], found["tasks"], found["files"] = bundle.read_tasks(args.tasks)
    if args.golden_prompts:
        found["questions"] = golden.read_questions(args.golden_prompts)
    return found


def kv(args) -> dict:
    """The fields of a request on the KV cache."""
    if args.kv == "float":
        return {}
    return {"kv": args.kv, "calibration": calibration(args)}


def shapes(args) -> dict:
    """The fields of a request on static shapes."""
    if not args.static_shapes:
        return {}
    from slmd_model.static_export import Shapes

    if args.layout != "genai":
        raise UserError("--static-shapes has a layout of its own: leave --layout out", 64)
    return {"shapes": Shapes(args.chunk, args.context), "calibration": calibration(args)}


def calibration(args, task: str | None = None) -> tuple:
    from slmd_model.kv_cache import read_calibration

    return tuple(read_calibration(args.kv_calibration, task)) if args.kv_calibration else ()


def run_quantise_kv(args) -> None:
    from slmd_model import bundle
    from slmd_model.export import quantise_bundle

    default_task = bundle.read(args.bundle).default_task
    print(*quantise_bundle(args.bundle, args.out, calibration(args, default_task)), sep="\n")


def run_reference(args) -> None:
    from slmd_model import golden

    golden.reference_logits(args.hf, args.out, args.tokens, args.seed)


def run_verify(args) -> None:
    from slmd_model import bundle

    if problems := bundle.verify(args.bundle):
        raise UserError("\n".join(problems))
    print(f"{args.bundle}: every file matches its hash")


def run_seal(args) -> None:
    from slmd_model import bundle

    bundle.seal(args.bundle, **({} if args.counter is None else {"counter": args.counter}))


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if args.command not in cli_training.WITH_BAR:
        os.environ["TQDM_DISABLE"] = "1"
    try:
        args.run(args)
    except UserError as error:
        print(f"slmd-model {args.command}: {error}", file=sys.stderr)
        return error.code
    except ModuleNotFoundError as error:
        print(f"slmd-model: {error}; run onnx/setup-python first", file=sys.stderr)
        return 69
    return 0
