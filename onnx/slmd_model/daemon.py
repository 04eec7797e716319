"""slmd as the evaluation sees it: a process with a Unix socket, asked in JSON lines."""

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from slmd_model.errors import UserError

START_SECONDS = 60


class Client:
    """One connection. Replies come in the order of the requests, since one is asked at a time."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(str(path))
        except OSError as error:
            raise UserError(f"{path}: no daemon answers there ({error.strerror})", 69) from None
        self.lines = self.socket.makefile("rb")

    def ask(self, request: dict) -> dict:
        """The terminal reply to a request, whatever its status."""
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        for line in self.lines:
            reply = json.loads(line)
            if "status" in reply:
                return reply
        raise UserError("the daemon closed the connection", 69)

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def status(path: Path) -> dict:
    """What the daemon says of itself; empty if it does not."""
    client = Client(path)
    reply = client.ask({"op": "status"})
    client.close()
    report = reply.get("report")
    return report if isinstance(report, dict) else {}


def config(bundle: Path, folder: Path, engine: str, threads: int) -> str:
    def text(value) -> str:
        return json.dumps(str(value))

    return (
        f"model = {text(bundle.resolve())}\nengine = {text(engine)}\nthreads = {threads}\n"
        f"state-dir = {text(folder / 'state')}\n[unix]\npath = {text(folder / 'slmd.sock')}\n"
        "[budget]\nsessions = 1\n"
    )


@contextlib.contextmanager
def serve(slmd: str, bundle: Path, engine: str = "auto", threads: int = 2) -> Iterator[tuple[Path, int]]:
    """`slmd serve` with a bundle on a temporary configuration: (socket, process id)."""
    program = shutil.which(slmd)
    if program is None:
        raise UserError(f"{slmd}: not found; name the daemon with --slmd, or a running one with --socket", 69)
    with tempfile.TemporaryDirectory(prefix="slmd-eval-") as name:
        folder = Path(name)
        file = folder / "config.toml"
        file.write_text(config(bundle, folder, engine, threads))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, "serve", "--config", str(file)], stdout=log, stderr=log)
        try:
            wait(folder, process)
            yield folder / "slmd.sock", process.pid
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait(folder: Path, process: subprocess.Popen) -> None:
    """Until the daemon serves, or the reason why it does not."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(UserError, OSError):
            client = Client(folder / "slmd.sock")
            reply = client.ask({"op": "health"})
            client.close()
            if reply.get("report", {}).get("serving"):
                return
        time.sleep(0.1)
    raise UserError("slmd serve did not come up:\n" + (folder / "log").read_text(errors="replace")[-2000:], 69)


def memory_kb(pid: int) -> dict[str, int]:
    """Resident memory of a process: `rss`, and what of it is anonymous."""
    fields = {"Rss": "rss", "Anonymous": "anonymous"}
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name = line.split(":")[0]
        if name in fields:
            found[fields[name]] = int(line.split()[1])
    return found
