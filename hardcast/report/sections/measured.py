"""Quality: what was measured of the image, or how to measure it."""

from __future__ import annotations

from typing import Any

from hardcast.report.form import number, percent
from hardcast.report.study import Study


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
    return {
        "rows": rows,
        "tasks": quality.tasks if quality else (),
        "file": quality.file if quality else "",
        "text": quality.text if quality else "",
        "executor": quality.executor if quality else "",
        "image": case.image is not None,
        "name": case.subject.name,
        "model": str(provenance.get("model", "")),
        "recipe": case.subject.recipe,
        "number": number,
    }
