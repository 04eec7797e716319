"""Starts the daemon of an installed package in a Debian root as its unit would, without systemd.

    python3 cross/start-installed.py ROOT COMMAND...

The command line, the user and the folders are those of the unit in ROOT. When the daemon has told its
readiness (within the unit's TimeoutStartSec), COMMAND is run, outside of the root. Then the daemon gets
SIGTERM and must end with 0 within TimeoutStopSec. Ends as COMMAND did, or with 1.
"""

import configparser
import os
import pathlib
import pwd
import shlex
import signal
import socket
import subprocess
import sys
import time

UNIT = "usr/lib/systemd/system/slmd.service"
FOLDERS = {"Runtime": "run", "State": "var/lib", "Cache": "var/cache", "Logs": "var/log"}


def service(root):
    """The unit's [Service] section; a key that is given again replaces the one before."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#", ";"))
    parser.optionxform = str
    parser.read(root / UNIT)
    return parser["Service"]


def account(root, name):
    """The user's numbers, as the root has them."""
    for line in (root / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return pwd.struct_passwd((*fields[:2], int(fields[2]), int(fields[3]), *fields[4:7]))
    sys.exit(f"start-installed: there is no user {name} in {root}")


def folders(root, unit, user):
    """Makes the folders that systemd would, and says them in the variables that it would."""
    variables = {}
    for kind, parent in FOLDERS.items():
        name = unit.get(f"{kind}Directory")
        if not name:
            continue
        folder = root / parent / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(int(unit.get(f"{kind}DirectoryMode", "0755"), 8))
        os.chown(folder, user.pw_uid, user.pw_gid)
        variables[f"{kind.upper()}_DIRECTORY"] = f"/{parent}/{name}"
    return variables


def seconds(text):
    """Of systemd's times, those that the unit uses."""
    for suffix, factor in (("min", 60), ("s", 1)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


def wait_until_ready(notify, process, limit_s):
    """Reads notifications until READY=1; the daemon may ask for more time, as of systemd."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        notify.settimeout(1)
        try:
            message = notify.recv(4096).decode(errors="replace")
        except TimeoutError:
            if process.poll() is not None:
                sys.exit(f"start-installed: the daemon ended with {process.returncode}")
            continue
        for line in message.splitlines():
            if line == "READY=1":
                return
            if line.startswith("EXTEND_TIMEOUT_USEC="):
                end = max(end, time.monotonic() + int(line.partition("=")[2]) / 1e6)
    process.kill()
    sys.exit(f"start-installed: not ready after {limit_s} s")


def main(root, command):
    """Starts, runs, ends."""
    # Ended from outside, it takes the daemon with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unit = service(root)
    user = account(root, unit.get("User", "slmd"))
    environment = {"PATH": "/usr/sbin:/usr/bin", "HOME": user.pw_dir, "NOTIFY_SOCKET": "/run/slmd.notify"}
    environment |= folders(root, unit, user)
    if "QEMU_CPU" in os.environ:
        environment["QEMU_CPU"] = os.environ["QEMU_CPU"]
    path = root / "run/slmd.notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        path.chmod(0o777)
        line = shlex.split(unit["ExecStart"].lstrip("-@:+!"))
        process = subprocess.Popen(
            ["chroot", f"--userspec={user.pw_uid}:{user.pw_gid}", "--groups=", str(root), *line],
            env=environment,
            umask=int(unit.get("UMask", "0022"), 8),
        )
        try:
            wait_until_ready(notify, process, seconds(unit.get("TimeoutStartSec", "90")))
            status = subprocess.run(command, check=False).returncode
        except BaseException:
            process.kill()
            raise
        process.terminate()
        try:
            ended = process.wait(seconds(unit.get("TimeoutStopSec", "90")))
        except subprocess.TimeoutExpired:
            process.kill()
            sys.exit("start-installed: it does not stop at SIGTERM")
        finally:
            path.unlink(missing_ok=True)
    if ended != 0:
        sys.exit(f"start-installed: it ended with {ended} at SIGTERM")
    sys.exit(status)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:])
