#!/usr/bin/env python3
"""Prefill and decode of onnxruntime-genai and of llama.cpp, for comparison with slmd.

  peers.py genai BUNDLE --threads N [--prompt 128] [--tokens 128] [--rounds 5]
  peers.py llama FILE.gguf ...        the same; llama-plain: with flash attention off
  peers.py quantise IN.gguf OUT.gguf  Q4_0 of a 16-bit file, as llama.cpp does it

Prints one JSON object a line. First {"ready": version, "load_ms", "rss_bytes", "anonymous_bytes"},
or {"skip": reason} where the peer is not installed; then a round each:
{"prefill_us", "steps_us": [...]}; at last {"peak_rss_bytes"}. With --interactive a round is run for
each line on the standard input, so that `cargo bench --bench socket` can take turns with others.

A round is a prompt of tokens drawn at random and then greedy steps, as the peer's users run it:
genai by `generate_next_token`, which chooses the token too; llama.cpp by `llama_decode` through its
Python binding, and argmax.
"""

import argparse
import itertools
import json
import random
import sys
import time
from pathlib import Path

CONTEXT = 1024


def memory():
    fields = {}
    with Path("/proc/self/smaps_rollup").open(encoding="ascii") as rollup:
        for line in rollup:
            name, _, rest = line.partition(":")
            if name in ("Rss", "Anonymous"):
                fields[name] = int(rest.split()[0]) * 1024
    return {"rss_bytes": fields["Rss"], "anonymous_bytes": fields["Anonymous"]}


def peak_rss_bytes():
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


class GenAi:
    """onnxruntime-genai over the same bundle as slmd."""

    def __init__(self, model, threads):
        import numpy
        import onnxruntime_genai as genai

        self.baseline = memory()
        self.began = time.perf_counter()
        self.numpy, self.genai, self.version = numpy, genai, genai.__version__
        config = genai.Config(model)
        session = {"intra_op_num_threads": threads}
        overlay = {"model": {"decoder": {"session_options": session}}}
        config.overlay(json.dumps(overlay | {"search": {"max_length": CONTEXT}}))
        self.model = genai.Model(config)

    def start(self, ids):
        params = self.genai.GeneratorParams(self.model)
        params.set_search_options(max_length=CONTEXT, do_sample=False)
        self.generator = self.genai.Generator(self.model, params)
        self.ids = self.numpy.array(ids, dtype=self.numpy.int32)

    def prefill(self):
        self.generator.append_tokens(self.ids)
        self.step()

    def step(self):
        self.generator.generate_next_token()
        self.generator.get_next_tokens()


class Llama:
    """llama.cpp over a GGUF file of the same shape, with its defaults."""

    flash_attention = None

    def __init__(self, model, threads):
        import llama_cpp as llama
        import numpy

        self.baseline = memory()
        self.began = time.perf_counter()
        self.numpy, self.llama, self.version = numpy, llama, llama.__version__
        self.quiet = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(self.quiet, None)
        llama.llama_backend_init()
        self.model = llama.llama_model_load_from_file(model.encode(), llama.llama_model_default_params())
        if not self.model:
            sys.exit(f"peers.py: llama.cpp cannot load {model}")
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, 512, 512
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        if self.flash_attention is not None:
            params.flash_attn_type = self.flash_attention
        self.context = llama.llama_init_from_model(self.model, params)
        vocab = llama.llama_model_get_vocab(self.model)
        self.vocab_size = llama.llama_vocab_n_tokens(vocab)

    def start(self, ids):
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), True)
        self.ids = ids

    def prefill(self):
        self.decode((self.llama.llama_token * len(self.ids))(*self.ids))

    def step(self):
        self.decode((self.llama.llama_token * 1)(self.next))

    def decode(self, tokens):
        batch = self.llama.llama_batch_get_one(tokens, len(tokens))
        if self.llama.llama_decode(self.context, batch) != 0:
            sys.exit("peers.py: llama_decode failed")
        logits = self.llama.llama_get_logits_ith(self.context, -1)
        shape = (self.vocab_size,)
        self.next = int(self.numpy.ctypeslib.as_array(logits, shape=shape).argmax())


class PlainLlama(Llama):
    """The same without flash attention, which may be faster on a CPU."""

    flash_attention = 0


def quantise(source, target):
    import llama_cpp as llama

    params = llama.llama_model_quantize_default_params()
    params.ftype = llama.LLAMA_FTYPE_MOSTLY_Q4_0
    if llama.llama_model_quantize(source.encode(), target.encode(), params) != 0:
        sys.exit(f"peers.py: llama.cpp cannot quantise {source}")


PEERS = {"genai": GenAi, "llama": Llama, "llama-plain": PlainLlama}


def one_round(peer, prompt, tokens, seed):
    draw = random.Random(seed)
    peer.start([draw.randrange(100, 40000) for _ in range(prompt)])
    marks = [time.perf_counter()]
    peer.prefill()
    marks.append(time.perf_counter())
    for _ in range(tokens):
        peer.step()
        marks.append(time.perf_counter())
    us = [round((b - a) * 1e6, 1) for a, b in itertools.pairwise(marks)]
    return {"prefill_us": us[0], "steps_us": us[1:]}


def say(message):
    print(json.dumps(message), flush=True)


def main():
    if sys.argv[1:2] == ["quantise"]:
        quantise(*sys.argv[2:4])
        return
    about, _, _ = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", choices=list(PEERS))
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--interactive", action="store_true")
    options = parser.parse_args()
    try:
        peer = PEERS[options.peer](options.model, options.threads)
    except ImportError as missing:
        say({"skip": f"{options.peer} is not installed here: {missing}"})
        return
    load_ms = (time.perf_counter() - peer.began) * 1e3
    baseline = {f"baseline_{name}": value for name, value in peer.baseline.items()}
    say({"ready": peer.version, "load_ms": round(load_ms, 1)} | memory() | baseline)
    for seed, _ in enumerate(sys.stdin if options.interactive else range(options.rounds)):
        say(one_round(peer, options.prompt, options.tokens, seed))
    say({"peak_rss_bytes": peak_rss_bytes()})


if __name__ == "__main__":
    main()
