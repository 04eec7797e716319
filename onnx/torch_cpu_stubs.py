#!/usr/bin/env python3
"""Let PyPI's x86_64 `torch` wheel run without its 2-3 GB of nvidia packages.

The wheel links `libtorch_cuda.so` and, through it, cuDNN, cuBLAS, NCCL and
others, so `import torch` fails without them although a CPU run calls none of
their code. This script compiles one small empty library for each missing name
into `torch/lib` (the last entry of torch's RUNPATH, so a real nvidia package
still wins). Every stub function answers `cudaErrorNoDevice` (100): torch then
reports `torch.cuda.is_available() == False`.

Needs `cc`, `nm` and `readelf` (Debian: `apt-get install gcc`). Standard
library only; run by `setup-python` with the venv's interpreter:

    python torch_cpu_stubs.py [SITE_PACKAGES]
"""

import re
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from pathlib import Path

CUDA_ERROR_NO_DEVICE = 100
CUDA_LIBRARY = re.compile(r"lib(cu|nccl|nv)\w*\.so\.\d+")
CUDA_SYMBOL = re.compile(r"(__)?(cu|nccl|nv)\w+")
RETURNS_TEXT = re.compile(r"(Error|Status|LastError)(String|Name)$|ErrorString$")


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def needed_libraries(lib: Path) -> set[str]:
    """CUDA sonames that the shared libraries of torch ask for."""
    found = set()
    for path in lib.glob("*.so"):
        for line in _lines("readelf", "-d", str(path)):
            name = re.search(r"\(NEEDED\).*\[(.+)\]", line)
            if name and CUDA_LIBRARY.fullmatch(name[1]):
                found.add(name[1])
    return found


def undefined_symbols(lib: Path) -> set[tuple[str, str]]:
    """(symbol, version) pairs of CUDA functions; the version is "" where there is none."""
    found = set()
    for path in lib.glob("*.so"):
        for line in _lines("nm", "-D", "--undefined-only", str(path)):
            symbol, _, version = line.split()[-1].partition("@")
            if CUDA_SYMBOL.fullmatch(symbol):
                found.add((symbol, version.lstrip("@")))
    return found


def owner(symbol: str, version: str, sonames: set[str]) -> str:
    """The library that must define the symbol: versions are named after sonames."""
    if version in sonames:
        return version
    prefix = {"NVSHMEM": "libnvshmem_host", "": "libnccl"}.get(version, "libcudart")
    return next(name for name in sorted(sonames) if name.startswith(prefix))


def body(symbol: str) -> str:
    if RETURNS_TEXT.search(symbol):
        return f'const char *{symbol}(void) {{ return "no CUDA: stub library"; }}'
    if symbol.startswith("__"):
        return f"long {symbol}(void) {{ return 0; }}"
    return f"long {symbol}(void) {{ return {CUDA_ERROR_NO_DEVICE}; }}"


def build(soname: str, symbols: dict[str, list[str]], target: Path) -> None:
    """Compile one stub; `symbols` maps a version ("" for none) to its functions."""
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder, "stub.c"), Path(folder, "versions")
        names = sorted({name for group in symbols.values() for name in group})
        source.write_text("\n".join(map(body, names)) + "\n")
        script.write_text(
            "".join(
                f"{version} {{ global: {' '.join(f'{n};' for n in group)} }};\n"
                for version, group in symbols.items()
                if version
            )
        )
        command = ["cc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{soname}"]
        if script.stat().st_size:
            command.append(f"-Wl,--version-script={script}")
        partial = target / f".{soname}.partial"
        subprocess.run([*command, str(source), "-o", str(partial)], check=True)
        partial.rename(target / soname)


def main() -> int:
    site = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("purelib"))
    lib = site / "torch" / "lib"
    if not lib.is_dir():
        print(f"torch_cpu_stubs: no torch under {site}", file=sys.stderr)
        return 66
    present = {p.name for p in site.glob("nvidia/**/*.so.*")} | {p.name for p in lib.glob("*.so.*")}
    sonames = needed_libraries(lib)
    missing = sonames - present
    by_library: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for symbol, version in sorted(undefined_symbols(lib)):
        by_library[owner(symbol, version, sonames)][version].append(symbol)
    for soname in sorted(missing):
        build(soname, by_library[soname], lib)
    print(f"torch_cpu_stubs: {len(missing)} stub libraries written, {len(sonames - missing)} were there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
