"""Whether two folders hold the same replies: JSON with the same text, keys and figures.

    python3 cross/same-replies.py FOLDER FOLDER

Left out are `timings`. Figures with a fraction (a confidence, a probability) may differ by 0.02, since
the last bits of the arithmetic do, and a `margin`, which is between two of them, by twice that; everything
else is equal, the exit codes with it.
"""

import json
import pathlib
import sys

TOLERANCE = 0.02


def differences(a, b, where="$"):
    """The places at which two values are not the same."""
    if isinstance(a, float) and isinstance(b, float):
        bound = 2 * TOLERANCE if where.endswith(".margin") else TOLERANCE
        return [] if abs(a - b) <= bound else [f"{where}: {a} and {b}"]
    if type(a) is not type(b):
        return [f"{where}: {a!r} and {b!r}"]
    if isinstance(a, dict):
        a, b = ({k: v for k, v in d.items() if k != "timings"} for d in (a, b))
        if list(a) != list(b):
            return [f"{where}: keys {list(a)} and {list(b)}"]
        return [d for k in a for d in differences(a[k], b[k], f"{where}.{k}")]
    if isinstance(a, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [d for i, (x, y) in pairs for d in differences(x, y, f"{where}[{i}]")]
    return [] if a == b else [f"{where}: {a!r} and {b!r}"]


def read(path):
    """A reply, and how the command ended; text that is no JSON stays text."""
    text = path.read_text()
    try:
        reply = json.loads(text)
    except ValueError:
        reply = text
    return {"reply": reply, "status": path.with_suffix(".status").read_text()}


def main(one, other):
    """Compares, prints, and says whether all is the same."""
    names = sorted(p.name for p in one.glob("*.json"))
    if not names or names != sorted(p.name for p in other.glob("*.json")):
        sys.exit(f"same-replies: other files in {one} than in {other}")
    failed = answers = 0
    for name in names:
        a, b = read(one / name), read(other / name)
        found = differences(a, b)
        answers += a["status"].strip() == "0"
        if found:
            failed += 1
            error = (other / name).with_suffix(".err").read_text()
            print(f"same-replies: {name}:", *found, error, sep="\n  ")
    if answers * 2 < len(names):
        sys.exit("same-replies: most commands failed, in both; nothing was compared")
    print(f"same-replies: {len(names) - failed} of {len(names)} are the same, {answers} of them answers")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
