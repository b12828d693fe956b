"""lm-eval's tasks on a tiny image, from a folder: no network, no data but what is written here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hardcast import cli, flow
from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.evaluate.tasks import run_tasks
from hardcast.generate import Generator, Result
from hardcast.golden import Golden
from hardcast.image import open_image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.tokenizer import Tokenizer, TokenizerSpec
from tests import tiny
from tests.evaluate.harness_tasks import ANSWER_TASK, CHOICE_TASK, CHOICES, write_task

pytest.importorskip("lm_eval", reason="the lm-eval extra is not installed: hardcast[lm-eval]")

from lm_eval.api.instance import Instance  # noqa: E402  (only where it is installed)

from hardcast.evaluate.lm_harness import HardcastLM  # noqa: E402


@pytest.fixture(scope="module")
def image_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harness")
    source = tiny.write_gguf(folder / "tiny.gguf", "llama", quant="Q4_1")
    flow.build(str(source), folder / "tiny.chip", recipe="4bit")
    return folder / "tiny.chip"


@pytest.fixture(scope="module")
def golden(image_path: Path) -> Golden:
    return Golden(open_image(image_path))


@pytest.fixture(scope="module")
def model(golden: Golden) -> HardcastLM:
    return HardcastLM(Engine(golden.image))


def log_likelihood(golden: Golden, context: str, continuation: str) -> tuple[float, bool]:
    """By the rule of the harness's HFLM, one sequence at a time on golden."""
    tokenizer = Tokenizer(TokenizerSpec.from_json(golden.image.tokenizer_json()))
    spaces = len(context) - len(context.rstrip())
    head = tokenizer.encode(context[: len(context) - spaces])
    tail = tokenizer.encode(context + continuation)[len(head) :]
    logits = golden.session().forward([*head, *tail][:-1], logits="all")[-len(tail) :]
    terms = []
    for row, token in zip(logits * 2.0**-golden.image.points.logits, tail, strict=True):
        shifted = row - row.max()
        terms.append(shifted[token] - math.log(np.exp(shifted).sum()))
    return math.fsum(terms), bool((logits.argmax(axis=1) == tail).all())


def requests(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, one, index) for index, one in enumerate(arguments)]


def test_multiple_choice_equals_golden_by_hand(
    golden: Golden, image_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path, CHOICE_TASK, CHOICES)
    argv = ["eval", str(image_path), "--tasks", "tiny_choice", "--include-path", str(tmp_path)]
    right, right_norm = [], []
    for row in CHOICES:
        values = [
            log_likelihood(golden, f"Q: {row['q']}\nA:", f" {choice}")[0]
            for choice in row["choices"]
        ]
        sizes = [len(choice) for choice in row["choices"]]
        right.append(np.argmax(values) == row["answer"])
        right_norm.append(np.argmax(np.divide(values, sizes)) == row["answer"])
    assert cli.main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    measured = found["tasks"]["tiny_choice"]
    assert measured["acc"] == np.mean(right) and measured["acc_norm"] == np.mean(right_norm)
    assert measured["acc_stderr"] == pytest.approx(np.std(right, ddof=1) / math.sqrt(3))
    assert (found["questions"], found["versions"]) == ({"tiny_choice": 3}, {"tiny_choice": "3"})
    assert (found["num_fewshot"], found["truncated"]) == ({"tiny_choice": 0}, 0)
    assert cli.main([*argv, "--limit", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["task", "shots", "questions", "metric", "value", "+-"]
    assert shown[1].split()[:5] == ["tiny_choice", "0", "2", "acc", f"{np.mean(right[:2]):.4f}"]


def test_exact_answers_equal_the_generators(
    golden: Golden, image_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answers of a task are what `hardcast generate` says; one of the three targets is not."""
    generator = Generator(golden.image, golden)
    said = []
    for row in CHOICES:
        prompt = generator.tokenizer.encode(f"Q: {row['q']}\nA:")
        *_, result = generator.run(prompt, SamplerSettings(), 8, ["\n"])
        assert isinstance(result, Result)
        said.append(result.text)
    rows = [{"q": row["q"], "answer": text} for row, text in zip(CHOICES, said, strict=True)]
    rows[1]["answer"] = "something else"
    write_task(tmp_path, ANSWER_TASK, rows)
    argv = ["eval", str(image_path), "--tasks", "tiny_answer", "--include-path", str(tmp_path)]
    assert cli.main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"]["tiny_answer"]["exact_match"] == 2 / 3
    assert found["questions"] == {"tiny_answer": 3}


@pytest.mark.parametrize(
    ("context", "continuation"),
    [
        ("The capital", " of France"),
        ("The capital ", "of France"),  # the space belongs to the continuation
        ("The capi", "tal of France is Paris."),  # merges across the boundary
        ("The capital of France is   ", "Paris."),
        ("<|im_start|>user\nhi", "<|im_end|>\n"),
    ],
)
def test_token_boundaries_are_the_harness_own(
    golden: Golden, model: HardcastLM, context: str, continuation: str
) -> None:
    found = model.loglikelihood(requests("loglikelihood", (context, continuation)))
    assert found == [log_likelihood(golden, context, continuation)]


def test_an_empty_context_is_bos(golden: Golden, model: HardcastLM) -> None:
    found = model.loglikelihood(
        requests("loglikelihood", ("", "Paris is"), ("", "<|im_start|>user"))
    )
    assert found[0] == log_likelihood(golden, "<|im_start|>", "Paris is")
    assert found[1] == log_likelihood(golden, "<|im_start|>", "user")


def test_whole_texts_in_windows(golden: Golden, model: HardcastLM) -> None:
    """Every token predicted once, each window but the first seeing the longest context there is."""
    text = "The weights become a pattern of holes in one mask. " * 20
    ids = model.tok_encode(text)
    context = golden.image.context
    assert len(ids) > 1.5 * context
    windows = [[1, *ids[:context]]]
    while (done := sum(len(window) for window in windows) - len(windows)) < len(ids):
        windows.append(ids[done - 1 : done + context])
    # The last window is as long as the others: it sees more, and predicts only what is left.
    rest = len(windows[-1]) - 1
    windows[-1] = ids[-(context + 1) :]
    total = 0.0
    for index, window in enumerate(windows):
        logits = golden.session().forward(window[:-1], logits="all")
        count = rest if index == len(windows) - 1 else context
        terms = []
        unit = 2.0**-golden.image.points.logits
        for row, token in zip(logits[-count:] * unit, window[-count:], strict=True):
            shifted = row - row.max()
            terms.append(shifted[token] - math.log(np.exp(shifted).sum()))
        total += math.fsum(terms)
    assert model.loglikelihood_rolling(requests("loglikelihood_rolling", (text,), (text,))) == [
        total,
        total,
    ]


def test_what_exceeds_the_context_is_counted(golden: Golden) -> None:
    model = HardcastLM(Engine(golden.image))
    long = "The capital of France is Paris. " * 60
    model.loglikelihood(requests("loglikelihood", (long, "yes"), ("The", " end")))
    assert model.truncated == 1
    assert len(model.generate_until(requests("generate_until", (long, {"max_gen_toks": 3})))) == 1
    assert model.truncated == 2


def test_options_of_generation(golden: Golden, model: HardcastLM) -> None:
    def said(**options: Any) -> str:
        asked = {"max_gen_toks": 6, **options}
        return model.generate_until(requests("generate_until", ("The lanes", asked)))[0]

    greedy = said()
    assert greedy == said(do_sample=False, temperature=0.7, num_beams=1, top_k=None)
    assert said(until=greedy[2:4]) == greedy.partition(greedy[2:4])[0]
    assert said(max_gen_toks=None, max_new_tokens=2) == said(max_gen_toks=2) != greedy
    draws = model.generate_until(
        requests("generate_until", *[("The lanes", {"max_gen_toks": 6, "temperature": 2.0})] * 3)
    )
    assert len(set(draws)) == 3
    for options, says in (
        ({"num_beams": 4}, "num_beams = 4"),
        ({"max_gen_toks": golden.image.context}, "build with a larger --context"),
        ({"max_gen_toks": 0}, "answers of 0 tokens"),
        ({"do_sample": True, "temperature": 0.001}, "temperature"),
    ):
        with pytest.raises(HardcastError, match=says):
            said(**options)


def test_answers_that_cannot_be_scored(model: HardcastLM) -> None:
    for continuation, says in (("", "has no token"), ("word " * 300, "exceeds the chip's")):
        with pytest.raises(HardcastError, match=says):
            model.loglikelihood(requests("loglikelihood", ("The", continuation)))


def test_chat_template(model: HardcastLM) -> None:
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "The answer is "},
    ]
    assert model.apply_chat_template(history[:1]).endswith("Hi<|im_end|>\n<|im_start|>assistant\n")
    assert model.apply_chat_template(history, add_generation_prompt=False).endswith(
        "<|im_start|>assistant\nThe answer is"
    )
    assert "im_start" in (model.chat_template(True) or "")
    assert model.chat_template(False) is None


def test_tasks_in_the_chat_template(
    golden: Golden, image_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one solved example; the scores are those of the very text that the template makes."""
    task = {**CHOICE_TASK, "fewshot_config": {"sampler": "first_n"}}
    write_task(tmp_path, task, CHOICES)
    seen: list[tuple[str, str]] = []

    class Listening(HardcastLM):
        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            seen.extend(request.args for request in requests)
            return super().loglikelihood(requests)

    argv = ["eval", str(image_path), "--tasks", "tiny_choice", "--include-path", str(tmp_path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardcast.evaluate.lm_harness.HardcastLM", Listening)
        assert cli.main([*argv, "--chat", "--num-fewshot", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_fewshot"] == {"tiny_choice": 1}
    assert len(seen) == 9
    assert all(context.endswith("<|im_start|>assistant\n") for context, _ in seen)
    assert all(context.count("<|im_start|>user") == 2 for context, _ in seen)


def test_registered_by_name(image_path: Path, golden: Golden) -> None:
    from lm_eval.api.registry import get_model

    found = get_model("hardcast").create_from_arg_string(f"image={image_path},threads=1")
    assert isinstance(found, HardcastLM) and found.executor.threads == 1  # type: ignore[attr-defined]
    assert found.tokenizer_name.endswith(golden.image.digest)
    for arguments in ("", "threads=1", f"image={image_path},device=cpu"):
        with pytest.raises(HardcastError, match="model_args: expected image=PATH"):
            HardcastLM.create_from_arg_string(arguments)


def test_mistakes_are_one_line(
    image_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path, CHOICE_TASK, CHOICES)
    broken = {**CHOICE_TASK, "task": "broken", "doc_to_text": "{{"}
    write_task(tmp_path, broken, CHOICES)
    write_task(tmp_path, {**CHOICE_TASK, "task": "gone"}, CHOICES)
    (tmp_path / "gone.jsonl").unlink()
    folder = ["--include-path", str(tmp_path)]
    for argv, says in (
        (["--tasks", "gone", *folder], "task gone: "),
        (["--tasks", ","], "name at least one task"),
        (["--tasks", "x", "--include-path", str(tmp_path / "no")], "no folder of tasks"),
        (["--tasks", "x", "--context", "64"], "--context has no meaning with --tasks"),
        (["--text", "x", "--limit", "3"], "--limit has no meaning with --text"),
        (["--text", "x", "--tasks", "y"], "not allowed with"),
        ([], "--text --tasks is required"),
    ):
        assert cli.main(["eval", str(image_path), *argv]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1


def test_an_unknown_task_names_its_neighbours(golden: Golden) -> None:
    from hardcast.evaluate.tasks import load_tasks

    manager = SimpleNamespace(all_tasks=["arc_easy", "hellaswag"])
    with pytest.raises(HardcastError, match="no task 'arc_eassy'; did you mean arc_easy"):
        load_tasks(manager, ["arc_eassy"], lambda *_: None)


def test_a_task_without_its_data_is_one_line(golden: Golden, tmp_path: Path) -> None:
    """As on a machine without network, where the hub's package raises what it raises."""
    write_task(tmp_path, {**CHOICE_TASK, "task": "far"}, CHOICES)
    path = tmp_path / "far.yaml"
    path.write_text(path.read_text("utf-8").replace('"json"', '"/nowhere/at/all"'), "utf-8")
    with pytest.raises(HardcastError, match=r"task far: .*is there a network\?$"):
        run_tasks(golden, ["far"], include_path=tmp_path)
