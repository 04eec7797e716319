"""The public corpora in parts: what may be trained on, what chooses, what is reported."""

from dataclasses import dataclass
from pathlib import Path

from slmd_model.data import dtc, public
from slmd_model.data.splits import split, without
from slmd_model.data.utterances import NOT_NLU, NOT_SNIPS, UNSEEN

PARTS = ("fit", "choose", "report")
Parts = dict[str, list[dict]]


@dataclass(frozen=True)
class Corpora:
    nlu: Parts  # `report` is nlu_eval_dev as it stands
    snips: Parts
    clinc: Parts
    odd: Parts  # CLINC's sentences out of scope
    codes: dict[str, str]

    def outside_nlu(self, part: str) -> list[dict]:
        """Sentences that no intent of NLU-Evaluation-Data covers; those not for fitting are of other intents."""
        names = NOT_NLU if part == "fit" else UNSEEN
        return self.odd[part] + [row for row in self.clinc[part] if row["intent"] in names]

    def outside_snips(self, part: str) -> list[dict]:
        other = [row for row in self.nlu[part] if row["intent"].startswith(NOT_SNIPS)]
        return self.outside_nlu(part) + other

    def vehicle(self, part: str) -> list[dict]:
        """All sentences, for what the car must refuse or can do."""
        return self.nlu[part] + self.snips[part] + self.clinc[part] + self.odd[part]


def read(folder: Path) -> Corpora:
    """Read FOLDER/commands and FOLDER/vehicle, as ../shared/data has them."""
    commands = folder / "commands"
    nlu = split(public.load(commands / "nlu_eval_train.jsonl"), choose=0.04, report=0.0)
    nlu["report"] = public.load(commands / "nlu_eval_dev.jsonl")
    kept = [row["text"] for row in nlu["report"]]
    nlu["choose"] = without(nlu["choose"], kept)
    nlu["fit"] = without(nlu["fit"], kept)
    snips = split(public.load(commands / "snips_train.jsonl"), choose=0.03, report=0.07)
    clinc = split(public.load(commands / "clinc_train.jsonl"), choose=0.02, report=0.02)
    unseen = [row for part in PARTS for row in clinc[part] if row["intent"] in UNSEEN]
    known = {part: [row for row in clinc[part] if row["intent"] not in UNSEEN] for part in PARTS}
    half = len(unseen) // 2  # whole sentences of intents that training never sees
    clinc = {"fit": known["fit"], "choose": known["choose"] + unseen[:half], "report": known["report"] + unseen[half:]}
    odd = split(public.load(commands / "clinc_oos_train.jsonl"), choose=0.2, report=0.4)
    return Corpora(nlu, snips, clinc, odd, dtc.read(folder / "vehicle" / "obd-trouble-codes.csv"))
