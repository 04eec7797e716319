"""From a GenAI graph with a float KV cache to one that keeps it in int8.

What is written is what onnxruntime-genai's builder writes for
`kv_cache_quant_scheme=int8_per_channel`: codes in the cache's ports, and scales that are
weights of the graph. It is written into the finished graph, and not by a second run of the
builder, since the scales are known only once a graph runs, and since a bundle whose
checkpoint is gone can have it as well.

Of the builder's schemes ONNX Runtime's CPU runs int8 and int4 with scales per tensor or per
channel. Scales per token (what tract keeps) are for CUDA's PagedAttention alone. Per channel
is the closer of the two int8 ones and as fast: see docs/engines.md.
"""

import json
from pathlib import Path

import numpy as np

from slmd_model import kv_scales
from slmd_model.errors import UserError
from slmd_model.golden import Question
from slmd_model.kv_scales import Rotation, Scales

SCHEME = "PER_CHANNEL"
TOKENS = 256  # of each prompt with what follows it
FLOATS = (1, 10)  # TensorProto.FLOAT, FLOAT16
PAST_KEY, COS, SIN, KEY_SCALE, VALUE_SCALE = 3, 7, 8, 12, 13  # inputs of GroupQueryAttention


def quantise(model: Path, prompts: list[list[int]]) -> None:
    """Give the graph `model` an int8 cache, measured on `prompts`; weights in external data stay where they are."""
    import onnx

    proto = onnx.load(model, load_external_data=False)
    nodes = attention_nodes(proto, model)
    config_file = model.parent / "genai_config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    context = config["model"]["context_length"]
    rotations = [rotation_of(proto, node, model, context) for node in nodes]
    scales = kv_scales.calibrate(model, prompts, rotations, stop_ids(config), min(TOKENS, context))
    rewrite(proto, nodes, scales)
    onnx.save(proto, model)
    # As the builder has it: GenAI on a CPU does not share the buffers of such caches. Nothing in the graph asks for it.
    config["search"]["past_present_share_buffer"] = False
    config_file.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")


def attention_nodes(proto, model: Path) -> list:
    """The GroupQueryAttention of each layer, in the order of the cache's ports."""
    found = {
        n.input[PAST_KEY]: n for n in proto.graph.node if n.op_type == "GroupQueryAttention" and len(n.input) > SIN
    }
    ports = [i for i in proto.graph.input if i.name.startswith("past_key_values.") and i.name.endswith(".key")]
    missing = [port.name for port in ports if port.name not in found]
    if not ports or missing:
        raise UserError(
            f"{model}: an int8 KV cache needs GroupQueryAttention in every layer (--layout genai)"
            + (f"; none reads {missing[0]}" if missing else ""),
            64,
        )
    if any(port.type.tensor_type.elem_type not in FLOATS for port in ports):
        raise UserError(f"{model}: the KV cache is not of floats, so it cannot be quantised (again)", 64)
    return [found[f"past_key_values.{n}.key"] for n in range(len(ports))]


def rotation_of(proto, node, model: Path, context: int) -> Rotation:
    """The rotary tables of `node`, up to the context's end."""
    from onnx import numpy_helper

    attributes = {a.name: a.i for a in node.attribute}
    tables = {t.name: t for t in proto.graph.initializer if t.name in (node.input[COS], node.input[SIN])}
    if not attributes.get("do_rotary") or len(tables) != 2:
        raise UserError(f"{model}: no constant rotary tables in {node.name}, no scales for its keys", 65)
    cos, sin = (
        numpy_helper.to_array(tables[node.input[at]], base_dir=str(model.parent))[:context].astype(np.float64)
        for at in (COS, SIN)
    )
    return Rotation.of(cos, sin, bool(attributes.get("rotary_interleaved")))


def stop_ids(config: dict) -> frozenset[int]:
    ids = config["model"].get("eos_token_id", [])
    return frozenset(ids if isinstance(ids, list) else [ids])


def rewrite(proto, nodes: list, scales: list[Scales]) -> None:
    """Codes in the ports, scales beside the weights, and what tells the operator so."""
    from onnx import TensorProto, helper, numpy_helper

    for port in (*proto.graph.input, *proto.graph.output):
        if port.name.startswith(("past_key_values.", "present.")):
            port.type.tensor_type.elem_type = TensorProto.INT8
    for n, (node, layer) in enumerate(zip(nodes, scales, strict=True)):
        node.input.extend([""] * (VALUE_SCALE + 1 - len(node.input)))
        for at, side, values in ((KEY_SCALE, "k", layer.keys), (VALUE_SCALE, "v", layer.values)):
            node.input[at] = f"model.layers.{n}.attn.{side}_scale"
            flat = values.astype(np.float32).reshape(-1)
            proto.graph.initializer.append(numpy_helper.from_array(flat, node.input[at]))
            node.attribute.append(helper.make_attribute(f"{side}_quant_type", SCHEME))
        node.attribute.append(helper.make_attribute("kv_cache_bit_width", 8))


def general_texts() -> list[Question]:
    """Encyclopaedic passages, for a model whose own answers are too much alike: half of those of the builder's tool."""
    from onnxruntime_genai.models.quantization.kv_cache_calibration import CORPUS

    return [Question(text) for text in CORPUS[::2]]


def held_texts() -> list[Question]:
    """The other half, to judge by."""
    from onnxruntime_genai.models.quantization.kv_cache_calibration import CORPUS

    return [Question(text) for text in CORPUS[1::2]]


def read_calibration(path: Path, task: str | None = None) -> list[Question]:
    """Prompts of a file: JSON lines with "text" and perhaps "task", else texts with empty lines between."""
    if not path.is_file():
        raise UserError(f"{path}: no such file", 66)
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".jsonl", ".json"):
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        found = [Question(line["text"], line.get("task", task)) for line in lines]
    else:
        found = [Question(part.strip()) for part in text.split("\n\n") if part.strip()]
    if not found:
        raise UserError(f"{path}: no text in it", 65)
    return found
