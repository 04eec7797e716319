"""Trouble codes: `P0420`, plain or inside a sentence, to {"code", "meaning"}; unknown codes are refused.

Known are the generic codes P0100 to P0750, which mean the same in every car
(SAE J2012, ISO 15031-6). Their meanings come from obd-trouble-codes.csv (MIT),
which is a row off in most of them: from P0126 on a code's meaning stands in
the next row, and from P0751 on the rows slip further. What a maker defines for
itself (P1..., B1..., C1..., U1...) has another meaning at another one's, and
is refused with the rest.
"""

import csv
import random
from pathlib import Path

from slmd_model.data.phrases import dress, expand
from slmd_model.data.utterances import or_refusal
from slmd_model.errors import UserError

SENTENCES = """
{c}
{c}
(what is|what's|whats) {c}
what does [the code|code|error|fault code] {c} mean
(meaning|definition|description|explanation) of {c}
[the] [error|fault|trouble|diagnostic] code {c}
(explain|describe|define|decode|translate|look up|check|read) [the] [code|error|fault] {c}
(i|we) (have|got|get|see|found) [a|the] [code|error|fault] {c}
my [car|truck|van|engine|scanner|obd reader|dashboard] (shows|says|gives [me]|has|reports|threw) [a|the] [code|error|fault|trouble code] {c}
(the|my) (check engine light|engine light|warning light) (is on|came on) [and it says|with|:|,] {c}
[please] tell me [what|about] {c} [means|is]
what (could|does|would) {c} (be|mean|stand for|indicate)
is {c} (serious|bad|dangerous|an engine problem)
(scan|scanner|obd|reader|ecu|diagnosis) (result|says|output|reading) [:] {c}
(got|there is|there's) [a] {c} (stored|pending|in the memory|on the scanner|again)
the (garage|mechanic|workshop|dealer|guy at the shop) (said|found|wrote|mentioned|read out) {c} [what is that|what does that mean|whats that]
[hi|hello|hey] [can|could] you (explain|tell me about|help me with|look up) {c} [please]
{c} (meaning|explained|what is it|what is that|help|code|please|means)
i (cleared|erased|deleted|reset) {c} [but it came back|and it's back]
why (do i|does my car) (have|get|show) {c}
"""


LAST, MISPLACED_FROM = "P0750", "P0126"
WRONG = {"P0382", "P0562", "P0601"}  # another code's meaning, or one maker's, even in the right row
SPELLING = {"Petal": "Pedal", "Malfuction": "Malfunction", "Malfucntion": "Malfunction"}
ANCHORS = {  # of SAE J2012: what the table must say once its rows are put right
    "P0101": "Mass or Volume Air Flow Circuit Range/Performance Problem",
    "P0171": "Fuel Trim System Lean (Bank 1)",
    "P0301": "Cylinder 1 Misfire Detected",
    "P0420": "Catalyst System Efficiency Below Threshold (Bank 1)",
    "P0700": "Transmission Control System Malfunction",
}


def generic(rows: list[list[str]]) -> dict[str, str]:
    """The generic codes of the table's rows, each with its own meaning."""
    codes = [code.strip() for code, _ in rows]
    if LAST not in codes[:-1] or MISPLACED_FROM not in codes:
        return {}
    first, last = codes.index(MISPLACED_FROM), codes.index(LAST)
    table = {}
    for at, code in enumerate(codes[: last + 1]):
        meaning = " ".join(rows[at + (at >= first)][1].split()).strip(";/ ")
        for wrong, right in SPELLING.items():
            meaning = meaning.replace(wrong, right)
        if code not in WRONG:
            table[code] = meaning
    return table


def read(path: Path) -> dict[str, str]:
    """Code -> meaning of the generic codes in the table at `path`."""
    if not path.is_file():
        raise UserError(f"{path}: missing; the task `dtc` needs the table of trouble codes (see onnx/README.md)", 66)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    odd = [number for number, row in enumerate(rows, 1) if len(row) != 2]
    if odd:
        raise UserError(f"{path}: row {odd[0]} is not a code and its meaning")
    table = generic(rows)
    off = [code for code, meaning in ANCHORS.items() if table.get(code) != meaning]
    if off:
        raise UserError(f"{path}: {off[0]} is not where it was: another edition of the table; see data/dtc.py")
    return table


def answer(code: str, table: dict[str, str]) -> dict:
    return {"code": code, "meaning": table[code]} if code in table else {"out_of_scope": True}


def unknown(table: dict[str, str], r: random.Random) -> str:
    """A code of the right form that is not in the table, often one next to a known one."""
    while True:
        if r.random() < 0.5:
            code = list(r.choice(list(table)))
            at = r.choice([0, 1, 2, 3, 4, 4, 4])
            code[at] = r.choice("PBCU" if at == 0 else "0123" if at == 1 else "0123456789")
            code = "".join(code)
        else:
            code = r.choice("PPBCU") + r.choice("01123") + "".join(r.choices("0123456789", k=3))
        if code not in table:
            return code


def sentence(code: str, r: random.Random) -> str:
    """The code as people write it, mostly inside a sentence."""
    line = expand(r.choice([line for line in SENTENCES.splitlines() if line]), r)
    if r.random() < 0.2:
        code = code.lower()
    text = line.replace("{c}", code)
    return dress(text, r, question=line.startswith(("what", "why", "is", "can", "could"))) if r.random() < 0.6 else text


def example(table: dict[str, str], codes: list[str], r: random.Random) -> tuple[str, dict]:
    code = unknown(table, r) if r.random() < 0.3 else r.choice(codes)
    return sentence(code, r), answer(code, table)


def schema(table: dict[str, str]) -> dict:
    """JSON Schema of an answer: a known code and a meaning of the table, in whole, or a refusal."""
    found = {
        "type": "object",
        "properties": {"code": {"enum": list(table)}, "meaning": {"enum": sorted(set(table.values()))}},
        "required": ["code", "meaning"],
        "additionalProperties": False,
    }
    return or_refusal("Trouble code", found)
