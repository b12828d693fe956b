"""Our own questions: that their answers are right, and that they are scored as golden says."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hardcast import cli, flow
from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.evaluate import basics
from hardcast.evaluate.basics import Basic, Question, ask_basics, basic_names, get_basics
from hardcast.evaluate.likelihood import Requests, Score, score
from hardcast.golden import Golden
from hardcast.image import open_image
from hardcast.tokenizer import Tokenizer, TokenizerSpec
from tests import tiny


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    folder = tmp_path_factory.mktemp("basics")
    source = tiny.write_gguf(folder / "tiny.gguf", "llama", quant="Q4_1")
    flow.build(str(source), folder / "tiny.chip", recipe="4bit")
    return Golden(open_image(folder / "tiny.chip"))


@pytest.fixture(scope="module")
def tokenizer(golden: Golden) -> Tokenizer:
    return Tokenizer(TokenizerSpec.from_json(golden.image.tokenizer_json()))


def likelier(right: float, wrong: float) -> Callable[..., list[Score]]:
    """A scorer by what a continuation says: right first, then wrong ones, over and over."""

    def scorer(requests: Requests, done: Callable[[int], None]) -> list[Score]:
        done(len(requests))
        fresh = [i == 0 or requests[i][0] != requests[i - 1][0] for i in range(len(requests))]
        return [Score(right if first else wrong, False) for first in fresh]

    return scorer


# The questions


@pytest.mark.parametrize("name", basic_names())
def test_questions_are_well_formed(name: str) -> None:
    (task,) = get_basics([name])
    assert len(task.questions) >= 100
    assert len({question.context for question in task.questions}) == len(task.questions)
    for question in task.questions:
        assert question.context and not question.context.endswith(" ")
        assert len(set(question.choices)) == len(question.choices) >= 2
        assert all(question.choices)


def test_help_and_docs_name_every_task() -> None:
    said = cli.docstring("eval")
    pages = [Path(__file__).parents[2] / "docs" / f"{name}.md" for name in ("commands", "evaluate")]
    for text in (said, *(page.read_text("utf-8") for page in pages)):
        assert [name for name in basic_names() if name not in text] == []


def test_sums_are_right() -> None:
    """Every wrong choice is wrong, and every right one right, computed again."""
    (task,) = get_basics(["basics_arithmetic"])
    told = re.compile(r"has (\d+) \w+ and (gets|gives away) (\d+)")
    for question in task.questions:
        if story := told.search(question.context):
            first, second = int(story[1]), int(story[3])
            right = first + second if story[2] == "gets" else first - second
        else:
            found = re.fullmatch(r".*\n(\d+) ([-+*]) (\d+) =", question.context, re.DOTALL)
            assert found is not None, question
            first, second = int(found[1]), int(found[3])
            right = {"+": first + second, "-": first - second, "*": first * second}[found[2]]
        assert int(question.choices[0]) == right
        assert right not in map(int, question.choices[1:])
        for line in question.context.split("\n")[:-1]:
            left, given = line.split(" = ")
            a, sign, b = left.split()
            assert int(given) == {"+": int(a) + int(b), "-": int(a) - int(b)}.get(
                sign, int(a) * int(b)
            )


def test_what_is_to_be_copied_stands_in_the_text() -> None:
    """The right choice, and no other, follows what the question ends with where that was said."""
    (task,) = get_basics(["basics_copying"])
    for question in task.questions:
        context, right = question.context, question.choices[0].strip()
        if "means" in context or "code" in context:
            asked = context.rpartition(". " if "code" in context else "; ")[2]
            said = [choice for choice in question.choices if asked + choice in context]
        elif " has a " in context:
            thing, owner = re.search(r"The (\w+) of (\w+) is$", context).groups()  # type: ignore[union-attr]
            said = [c for c in question.choices if f"{owner} has a{c} {thing}." in context]
        else:
            last = context.rstrip(",").split(", ")[-1].rpartition(". ")[2]
            said = [c for c in question.choices if re.search(rf"\b{last},{c}\b", context)]
        assert [choice.strip() for choice in said] == [right], question


def test_numbers_in_order_go_on_by_their_step() -> None:
    (task,) = get_basics(["basics_order"])
    counted = [q for q in task.questions if re.fullmatch(r"(\d+, ){3}\d+,", q.context)]
    assert len(counted) > 20
    for question in counted:
        numbers = [int(n) for n in question.context.rstrip(",").split(", ")]
        steps = set(np.diff([*numbers, int(question.choices[0])]).tolist())
        assert len(steps) == 1, question


def test_a_version_is_of_the_questions(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    versions = set()
    for right in ("yes", "no"):
        path.write_text(f'questions = [["Is it?", " {right}", " perhaps"]]\n', "utf-8")
        task = basics.read_basic(path)
        versions.add(task.version)
        assert task == Basic(
            "basics_mine", task.version, (Question("Is it?", (f" {right}", " perhaps")),)
        )
    assert len(versions) == 2


# Their scores


def by_hand(golden: Golden, tokenizer: Tokenizer, question: Question) -> list[float]:
    found = []
    unit = 2.0**-golden.image.points.logits
    before = len(tokenizer.encode(question.context))
    for choice in question.choices:
        whole = tokenizer.encode(question.context + choice)
        logits = golden.session().forward(whole[:-1], logits="all")[before - 1 :] * unit
        terms = [
            row[token] - row.max() - math.log(np.exp(row - row.max()).sum())
            for row, token in zip(logits, whole[before:], strict=True)
        ]
        found.append(math.fsum(terms))
    return found


def test_scores_are_goldens(golden: Golden, tokenizer: Tokenizer) -> None:
    tasks = get_basics(["basics_sense", "basics_agreement", "basics_sense"])
    assert [task.name for task in tasks] == ["basics_agreement", "basics_sense"]
    engine = Engine(golden.image)
    bars: list[tuple[str, int, int | None]] = []
    found, truncated = ask_basics(
        tasks,
        tokenizer,
        lambda requests, done: score(engine, requests, done=done),
        golden.image.context,
        limit=6,
        progress=lambda *what: bars.append(what),
    )
    assert truncated == 0 and bars[-1][1] == bars[-1][2] == 6 * 2 + 6 * 4
    for task in tasks:
        logs = [by_hand(golden, tokenizer, question) for question in task.questions[:6]]
        lengths = [[len(c) for c in question.choices] for question in task.questions[:6]]
        values = found[task.name].values
        assert values["acc"] == [float(one[0] > max(one[1:])) for one in logs]
        norms = [np.divide(one, size) for one, size in zip(logs, lengths, strict=True)]
        assert values["acc_norm"] == [float(one[0] > max(one[1:])) for one in norms]
        margins = [one[0] - max(one[1:]) for one in logs]
        assert values["margin"] == pytest.approx(margins, abs=1e-9)
        metrics = found[task.name].metrics
        assert metrics["acc"] == np.mean(values["acc"])
        assert metrics["margin_stderr"] == pytest.approx(np.std(margins, ddof=1) / math.sqrt(6))
        assert (found[task.name].samples, found[task.name].num_fewshot) == (6, 0)
    assert found["basics_agreement"].chance == 0.5


@pytest.mark.parametrize(
    ("right", "wrong", "expected"), [(-1.0, -2.0, 1.0), (-2.0, -1.0, 0.0), (-1.0, -1.0, 0.0)]
)
def test_a_tie_is_wrong(tokenizer: Tokenizer, right: float, wrong: float, expected: float) -> None:
    """A chip that finds everything equally likely knows nothing."""
    tasks = get_basics(["basics"])
    assert [task.name for task in tasks] == basic_names()
    found, _ = ask_basics(tasks, tokenizer, likelier(right, wrong), 256)
    for result in found.values():
        assert result.metrics["acc"] == expected
        assert result.metrics["margin"] == right - wrong


def test_a_token_across_the_border_belongs_to_the_choices() -> None:
    """As `):` and a line end do in Qwen's vocabulary: no choice loses its only token."""

    class Merging:
        spec = SimpleNamespace(add_bos=False)

        def encode(self, text: str, add_bos: bool) -> list[int]:
            return [1000 if part == "):" else ord(part) for part in re.findall(r"\):|.", text)]

    seen: list[tuple[list[int], list[int]]] = []

    def scorer(requests: Requests, done: Callable[[int], None]) -> list[Score]:
        seen.extend((list(a), list(b)) for a, b in requests)
        return [Score(-1.0, False)] * len(requests)

    task = Basic("basics_x", "0", (Question("f()", (":", ";", ":-")),))
    ask_basics([task], Merging(), scorer, 8)  # type: ignore[arg-type]
    before = [ord("f"), ord("(")]
    assert seen == [(before, [1000]), (before, [ord(")"), ord(";")]), (before, [1000, ord("-")])]


def test_no_text_is_ended(golden: Golden, tokenizer: Tokenizer) -> None:
    """Some models end every text by a token; a question goes on."""
    seen: list[list[tuple[list[int], list[int]]]] = []

    def scorer(requests: Requests, done: Callable[[int], None]) -> list[Score]:
        seen.append([(list(a), list(b)) for a, b in requests])
        return [Score(-1.0, False)] * len(requests)

    ending = Tokenizer(dataclasses.replace(tokenizer.spec, suffix=(2,)))
    assert ending.encode("x")[-1] == 2
    for one in (tokenizer, ending):
        ask_basics(get_basics(["basics_code"]), one, scorer, 256)
    assert seen[0] == seen[1]


def test_what_does_not_fit_is_counted_or_refused(golden: Golden, tokenizer: Tokenizer) -> None:
    tasks = get_basics(["basics_copying"])
    _, truncated = ask_basics(tasks, tokenizer, likelier(-1, -2), 20)
    assert truncated > 100
    with pytest.raises(HardcastError, match="build with a larger --context"):
        ask_basics(tasks, tokenizer, likelier(-1, -2), 1)
    with pytest.raises(HardcastError, match="among our own: basics, basics_agreement, "):
        get_basics(["basics_maths"])
