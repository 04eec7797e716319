"""The default model's bundle (`onnx/default`)."""

import time
from pathlib import Path

from slmd_model import bundle, golden
from slmd_model import default_tokenizer as words
from slmd_model.bundle import Task
from slmd_model.errors import UserError
from slmd_model.export import Request, export
from slmd_model.genai import Options
from slmd_model.golden import Question
from slmd_model.session import Decoder

NAME, VERSION, CARD = "slmd-default", "0.5.0", "MODEL_CARD.md"
TASKS = {
    "vehicle": Task("vehicle", "vehicle.schema.json", max_tokens=64),
    "alert": Task("alert", "alert.schema.json", max_tokens=64, confidence_fields=("/cause",)),
    "dtc": Task("dtc", "dtc.schema.json", max_tokens=64),
    "intent": Task("intent", "intent.schema.json", max_tokens=192, confidence_fields=("/intent",)),
    "snips": Task("snips", "snips.schema.json", max_tokens=256, confidence_fields=("/intent",)),
}
ALERT = '{"sensor":"vibration","last":138,"peak":138,"trend":60,"spread":84}'
QUESTIONS = (
    Question("warmer in the back", "vehicle"),
    Question("set the temperature to 21 degrees", "vehicle"),
    Question("open the sunroof halfway", "vehicle"),
    Question("turn off the wipers", "vehicle"),
    Question("close all windows", "vehicle"),
    Question("what's the capital of France", "vehicle"),
    Question(ALERT, "alert"),
    Question("what does P0420 mean", "dtc"),
    Question("play the next song", "intent"),
    Question("wake me up at seven am tomorrow", "intent"),
    Question("add this song to my Workout playlist", "snips"),
)  # fmt: skip


def make(hf: Path, data: Path, out: Path, options: Options) -> list[str]:
    """Export the trained checkpoint to the folder that slmd embeds; an existing model card stays."""
    schemas = tuple(data / f"{name}.schema.json" for name in TASKS)
    for path in schemas:
        if not path.is_file():
            raise UserError(f"{path}: missing; make it with `slmd-model data`", 66)
    card = out / CARD
    request = Request(
        NAME, VERSION, options=options, inline=True, steps=48, margin=0.5, questions=QUESTIONS,
        default_task=words.DEFAULT_TASK, tasks=TASKS, files=(*schemas, *([card] if card.is_file() else [])),
    )  # fmt: skip
    return export(hf, out, request)


def answers(folder: Path, threads: int):
    """A function (task, text) -> (answer text, tokens, seconds) on the bundle, without a grammar."""
    tokenizer = golden.load_tokenizer(folder)
    decoder = Decoder(folder / "model.onnx", threads)
    stop = frozenset([tokenizer.convert_tokens_to_ids(words.END)])
    tasks = bundle.read(folder).tasks

    def answer(task: str, text: str) -> tuple[str, int, float]:
        ids = tokenizer(words.render(task, text), add_special_tokens=False)["input_ids"]
        begin = time.perf_counter()
        tokens = decoder.greedy(ids[: words.CONTEXT - 64], tasks[task].max_tokens, stop)
        return tokenizer.decode(tokens), len(tokens) + 1, time.perf_counter() - begin

    return answer
