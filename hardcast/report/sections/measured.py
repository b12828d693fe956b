"""Quality: what was measured of the image, or how to measure it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardcast.evaluate.significance import Z
from hardcast.report import charts
from hardcast.report.form import number, percent
from hardcast.report.plot import Plot, Table, draw
from hardcast.report.quality import TOGETHER, Loss, Quality
from hardcast.report.study import Study

HEAD = "acc"  # the metric that a task is shown by, where it has that
HEADER = ["task", "metric", "questions", "float source", "chip", "±", "chip less source"] + [
    "95 %",
    "p",
    "p, of so many tasks",
]


def section(study: Study) -> dict[str, Any]:
    """Rows of a measurement, if there is one."""
    case, quality = study.case, study.case.quality
    rows: list[tuple[str, str]] = []
    if quality is not None and quality.numbers:
        given = quality.numbers
        rows.append(("perplexity of the chip", f"{given['perplexity']:.4f}"))
        if quality.increase is not None:
            rows.append(("perplexity of the float model", f"{given['perplexity_float']:.4f}"))
            rows.append(("lost by casting", f"{quality.increase:+.2%}".replace("%", " %")))
        if "kl_mean" in given:
            rows.append(("KL to the float model, nats a token", f"{given['kl_mean']:.5f}"))
        if "top1_agreement" in given:
            rows.append(("same first choice as the float model", percent(given["top1_agreement"])))
        rows.append(("predictions", f"{given['tokens']:,.0f}"))
    provenance = case.image.provenance if case.image else {}
    losses = quality.losses if quality else ()
    compared = {(loss.name, loss.metric) for loss in losses}
    shown = heads(losses)
    return {
        "rows": rows,
        "tasks": [
            task
            for task in (quality.tasks if quality else ())
            if (task.name, task.metric) not in compared
        ],
        "losses": Table(HEADER, [row(loss) for loss in shown], frozenset({0, 1})),
        "plots": plots(shown),
        "file": quality.file if quality else "",
        "text": quality.text if quality else "",
        "executor": quality.executor if quality else "",
        "image": case.image is not None,
        "name": case.subject.name,
        "model": str(provenance.get("model", "")),
        "recipe": case.subject.recipe,
        "number": number,
    }


def heads(losses: Sequence[Loss]) -> list[Loss]:
    """Each task by HEAD, or by all that it has; then every score of all together, if several."""
    tasks = [loss for loss in losses if loss.name != TOGETHER]
    named = {loss.name for loss in tasks if loss.metric == HEAD}
    found = [loss for loss in tasks if loss.metric == HEAD or loss.name not in named]
    if len({loss.name for loss in tasks}) > 1:
        found += [loss for loss in losses if loss.name == TOGETHER]
    return found


def row(loss: Loss) -> list[str]:
    """One line of the table: shares in per cent, their differences in points."""

    def said(value: float, sign: str = "") -> str:
        return f"{100 * value:{sign}.1f}" if loss.shares else f"{value:{sign}.3f}"

    return [
        loss.name,
        loss.metric + (", %" if loss.shares else ""),
        f"{loss.questions:,}",
        said(loss.source),
        said(loss.chip),
        said(loss.chip_stderr),
        said(loss.difference, "+"),
        f"{said(loss.low, '+')} to {said(loss.high, '+')}",
        _p(loss.p),
        "–" if loss.p_holm is None else _p(loss.p_holm),
    ]


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def plots(losses: Sequence[Loss]) -> list[Plot]:
    """Shares of right answers, and what was lost of them: of HEAD alone, if there is that."""
    shares = [loss for loss in losses if loss.shares]
    chosen = [loss for loss in shares if loss.metric == HEAD] or shares
    several = len({loss.metric for loss in chosen}) > 1
    named = [(f"{one.name}, {one.metric}" if several else one.name, one) for one in chosen]
    return [scores(named), differences(named)] if named else []


def scores(losses: Sequence[tuple[str, Loss]]) -> Plot:
    """Bars of the chip's right answers, with 95 % of their error."""
    rows, lines = [], []
    for name, loss in losses:
        value, error = 100 * loss.chip, 100 * Z * loss.chip_stderr
        ends = max(0.0, value - error), min(100.0, value + error)
        said = [f"{number:.1f}" for number in (value, *ends)]
        tip = f"{name}: {said[0]} %, at 95 % {said[1]} to {said[2]}"
        bar = {"name": name, "value": value, "low": ends[0], "high": ends[1]}
        rows.append(bar | {"said": said[0], "tip": tip})
        lines.append([name, *said])
    return draw(
        "scores",
        "Right answers of the chip, per cent, with 95 % intervals.",
        "Bars: " + ", ".join(f"{line[0]} {line[1]} %" for line in lines),
        charts.bars(rows, "%"),
        Table(["task", "right, %", "low", "high"], lines),
    )


def differences(losses: Sequence[tuple[str, Loss]]) -> Plot:
    """What the float source has more, with intervals."""
    rows, lines = [], []
    for name, loss in losses:
        points = [100 * value for value in (loss.difference, loss.low, loss.high)]
        ends = [f"{value:+.1f}" for value in points]
        rows.append(
            dict(zip(("value", "low", "high"), points, strict=True))
            | {"name": name, "tip": f"{name}: {ends[0]} points, at 95 % {ends[1]} to {ends[2]}"}
        )
        lines.append([name, *ends])
    return draw(
        "losses",
        "Right answers of the chip less those of its float source to the same questions, points, "
        "with 95 % intervals.",
        "Points with intervals: " + ", ".join(f"{name} {value}" for name, value, _, _ in lines),
        charts.intervals(rows, "points"),
        Table(["task", "difference", "low", "high"], lines),
    )


def in_a_line(quality: Quality) -> str:
    """What was measured, for the summary."""
    said = []
    if quality.increase is not None:
        said.append(
            f"perplexity {quality.increase:+.2%} beside its float source".replace("%", " %")
        )
    shares = [loss for loss in quality.losses if loss.shares]
    whole = next((loss for loss in reversed(shares) if loss.metric == HEAD), None)
    if whole is not None:
        ends = " to ".join(f"{100 * value:+.1f}" for value in (whole.low, whole.high))
        said.append(
            f"{100 * whole.chip:.1f} % of {whole.questions:,} questions right, "
            f"{100 * whole.difference:+.1f} points ({ends} at 95 %) beside its float source"
        )
    return "; ".join(said)
