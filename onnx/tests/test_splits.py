"""Parts of human sentences: disjoint, and apart."""

import json
from pathlib import Path

from slmd_model.data import build, corpora, report
from slmd_model.data.splits import Index, near, split, without, words_of


def rows(*texts):
    return [{"text": text} for text in texts]


def test_case_punctuation_and_figures_do_not_make_sentences_differ():
    assert near(words_of("Wake me at 7."), words_of("wake me at 8"))
    assert not near(words_of("wake me at seven"), words_of("wake me in the morning please"))


def test_near_sentences_share_a_part_and_are_told_once():
    letters = "abcdefghijklmnop"
    texts = [f"say word{i} and thing{k} to number {n}" for i in letters for k in letters for n in (1, 2)]
    parts = split(rows(*texts), choose=0.2, report=0.2)
    assert all(parts.values())
    fit = Index(row["text"] for row in parts["fit"])
    for part in ("choose", "report"):
        assert not [row for row in parts[part] if fit.near(row["text"])]
    assert not without(rows("Say worda and thingb to number 3!"), texts)


def test_public_parts_are_apart(shared_data):
    data = corpora.read(shared_data)
    fit = Index(row["text"] for row in data.nlu["fit"] + data.snips["fit"])
    for name in ("nlu", "snips"):
        for part in ("choose", "report"):
            parts = getattr(data, name)[part]
            assert len(parts) > 250
            assert sum(bool(fit.near(row["text"])) for row in parts) <= 0.01 * len(parts), (name, part)


def test_no_training_line_says_what_is_held_out(shared_data, tmp_path):
    frozen = Path(__file__).parent
    build.build(shared_data, frozen, tmp_path, seed=1, share=0.03, tell=lambda text: None)
    train, held = (
        [json.loads(line) for name in names for line in (tmp_path / name).read_text().splitlines()]
        for names in (("train.jsonl",), ("choose.jsonl", "report.jsonl"))
    )
    assert len(train) > 25_000
    human = {build.spoken(line) for line in held if line["source"] in report.HUMAN}
    assert not [line["text"] for line in train if build.spoken(line) in human]
    commands = {words_of(text) for path in frozen.glob("vehicle_handwritten*.jsonl") for text in texts_of(path)}
    assert not [line["text"] for line in train if words_of(line["text"]) in commands]


def test_sentences_of_other_corpora_are_apart(shared_data):
    data = corpora.read(shared_data)
    rows = data.clinc["fit"] + data.snips["fit"]
    kept = build.apart(rows, data.nlu)
    held = Index(row["text"] for part in ("choose", "report") for row in data.nlu[part])
    assert len(rows) - 100 < len(kept) < len(rows)
    assert not [row["text"] for row in kept if held.near(row["text"])]


def texts_of(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]
