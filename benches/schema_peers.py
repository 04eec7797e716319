#!/usr/bin/env python3
"""Time to a complete and valid answer of one JSON schema: slmd beside llama-server, in turns.

  schema_peers.py --slmd SLMD --model BUNDLE --llama-server LLAMA_SERVER --gguf FILE \\
      --schema NAME=FILE [--schema ...] [--engines ort,tract] [--threads 2] [--rounds 20] [--json OUT]

Both are asked over a connection of their own, with the same prompts, the same schema, temperature 1, the
same seeds, and up to 256 tokens. Random weights will do: what is compared is the work for one answer, and
an answer that is not complete or not valid (python's jsonschema judges) has no time. llama-server runs once
without filters, as slmd does, and once with its own. Printed are, for each
schema and server, how many answers were valid, and the medians of their time, tokens and time a token; then
the ratio of the times.
"""

import argparse
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jsonschema

TOKENS = 256
PROMPTS = [
    "warmer in the back",
    "open the sunroof halfway and turn off the wipers",
    "vibration 9.3 mm/s for 30 s, limit 7.1, trend rising; temperature 71, limit 80",
    "it is freezing in here",
]


def wait_for(process, ready, what):
    end = time.monotonic() + 120
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            sys.exit(f"{what} does not come up")
        time.sleep(0.05)


class Slmd:
    def __init__(self, args, engine):
        self.name = f"slmd, {engine}"
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "s.sock"
        config = Path(self.folder.name) / "c.toml"
        config.write_text(
            f'model = "{args.model}"\nengine = "{engine}"\nthreads = {args.threads}\n'
            f'state-dir = "{self.folder.name}"\nbudget.context-tokens = 1024\n'
            "budget.sessions = 1\nlatency.deadline-ms = 60000\n",
            encoding="utf-8",
        )
        command = [args.slmd, "serve", "--config", str(config), "--socket", str(path)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(self.process, lambda: self.connect(path), "slmd")

    def connect(self, path):
        try:
            stream = socket.socket(socket.AF_UNIX)
            stream.connect(str(path))
            self.stream, self.lines = stream, stream.makefile()
            return True
        except OSError:
            return False

    def ask(self, prompt, schema, seed):
        request = {
            "id": "1",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": TOKENS,
            "temperature": 1,
            "seed": seed,
            "on_deadline": "error",
            "response_format": {"type": "json_schema", "schema": schema},
        }
        self.stream.sendall(json.dumps(request).encode() + b"\n")
        reply = json.loads(self.lines.readline())
        if reply["status"] != "ok":
            return None, 0
        return reply["text"], reply["usage"]["completion_tokens"]


class Llama:
    filters = False

    def __init__(self, args):
        self.name = "llama-server"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [
            args.llama_server,
            "--model",
            args.gguf,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--threads",
            str(args.threads),
            "--threads-batch",
            str(args.threads),
            "--parallel",
            "1",
            "--ctx-size",
            "1024",
            *args.llama_args.split(),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.process, self.is_healthy, "llama-server")
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)

    def is_healthy(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def ask(self, prompt, schema, seed):
        body = {
            "prompt": f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
            "json_schema": schema,
            "n_predict": TOKENS,
            "temperature": 1,
            "seed": seed,
            "cache_prompt": False,
        }
        if not self.filters:
            body |= {"top_k": 0, "top_p": 1, "min_p": 0}
        headers = {"Content-Type": "application/json"}
        self.connection.request("POST", "/completion", json.dumps(body), headers)
        reply = json.loads(self.connection.getresponse().read())
        if "content" not in reply:
            sys.exit(f"llama-server: {reply}")
        return reply["content"], reply["tokens_predicted"]


class FilteredLlama(Llama):
    """The same server with its default filters: it looks at the grammar for few tokens at first."""

    filters = True

    def __init__(self, llama):
        self.name = "llama-server, its filters"
        self.process, self.port = llama.process, llama.port
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)


def measure(server, prompt, schema, validator, seed):
    began = time.perf_counter()
    text, tokens = server.ask(prompt, schema, seed)
    took = (time.perf_counter() - began) * 1e3
    try:
        valid = text is not None and validator.is_valid(json.loads(text))
    except json.JSONDecodeError:
        valid = False
    return {"server": server.name, "valid": valid, "ms": took, "tokens": tokens}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ["--slmd", "--model", "--llama-server", "--gguf"]:
        parser.add_argument(name, required=True)
    parser.add_argument("--schema", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--engines", default="ort,tract")
    parser.add_argument("--llama-args", default="", help="further arguments, in one text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    llama = Llama(args)
    servers = [Slmd(args, engine) for engine in args.engines.split(",")]
    servers += [llama, FilteredLlama(llama)]
    rows = []
    for named in args.schema:
        name, file = named.split("=", 1)
        schema = json.loads(Path(file).read_text(encoding="utf-8"))
        validator = jsonschema.Draft202012Validator(schema)
        for server in servers:  # the grammar is compiled once
            server.ask(PROMPTS[0], schema, 0)
        for seed in range(1, args.rounds + 1):
            order = servers if seed % 2 else servers[::-1]
            for prompt in PROMPTS:
                for server in order:
                    row = measure(server, prompt, schema, validator, seed)
                    rows.append({"schema": name, "prompt": prompt, "seed": seed, **row})
    for server in servers:
        server.process.terminate()
    print("| schema | server | valid | ms | tokens | ms a token |\n|---|---|---|---|---|---|")
    for name in dict.fromkeys(row["schema"] for row in rows):
        medians = {}
        for server in servers:
            own = [r for r in rows if r["schema"] == name and r["server"] == server.name]
            good = [r for r in own if r["valid"]]
            share = f"{len(good)} of {len(own)}"
            if not good:
                print(f"| {name} | {server.name} | {share} | | | |")
                continue
            ms = statistics.median(r["ms"] for r in good)
            tokens = statistics.median(r["tokens"] for r in good)
            each = statistics.median(r["ms"] / max(r["tokens"], 1) for r in good)
            medians[server.name] = ms
            print(f"| {name} | {server.name} | {share} | {ms:.1f} | {tokens:.0f} | {each:.2f} |")
        for peer in [server for server in medians if server.startswith("llama")]:
            for server in [server for server in medians if server.startswith("slmd")]:
                ratio = medians[peer] / medians[server]
                print(f"{name}: {server} is {ratio:.2f} times as fast as {peer}")
    if args.json:
        args.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
