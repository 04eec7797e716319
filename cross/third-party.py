"""Writes the names, licences and licence texts of the crates that are linked into the binary.

    python3 cross/third-party.py TRIPLE [FEATURES] >THIRD-PARTY.txt

FEATURES is cargo's list; the default ones if left out. Texts that are equal are written once, with
the crates they belong to. A crate without a text of its own is listed with its licence's name.
"""

import json
import pathlib
import subprocess
import sys

TEXTS = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")


def metadata(triple, features):
    """What cargo knows of the packages for a target."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", triple]
    if features is not None:
        command += ["--no-default-features", "--features", features]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def linked(found):
    """The packages that the root reaches by normal dependencies; not those of builds and tests."""
    packages = {p["id"]: p for p in found["packages"]}
    nodes = {n["id"]: n for n in found["resolve"]["nodes"]}
    root = found["resolve"]["root"]
    seen, open_ids = {root}, [root]
    while open_ids:
        for dep in nodes[open_ids.pop()]["deps"]:
            normal = any(k["kind"] is None for k in dep["dep_kinds"])
            macros = any("proc-macro" in t["kind"] for t in packages[dep["pkg"]]["targets"])
            if normal and not macros and dep["pkg"] not in seen:
                seen.add(dep["pkg"])
                open_ids.append(dep["pkg"])
    crates = [packages[i] for i in seen - {root}]
    return sorted(crates, key=lambda p: (p["name"], p["version"]))


def texts(package):
    """The licence files of a package, in the order of their names."""
    folder = pathlib.Path(package["manifest_path"]).parent
    names = sorted(p for p in folder.iterdir() if p.name.upper().startswith(TEXTS) and p.is_file())
    return [p.read_text(errors="replace").strip() for p in names]


def main(triple, features=None):
    """Prints it all."""
    crates = linked(metadata(triple, features))
    if len(crates) < 20:
        sys.exit(f"third-party: only {len(crates)} crates found; is this run in the checkout?")
    owners = {}
    print("Crates that are linked into slmd, with their licences.\n")
    for crate in crates:
        name = f"{crate['name']} {crate['version']}"
        print(f"  {name}: {crate['license'] or 'see its file'}")
        for text in texts(crate):
            owners.setdefault(text, []).append(name)
    for text, names in owners.items():
        print(f"\n{'=' * 78}\n{', '.join(names)}\n{'-' * 78}\n{text}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
