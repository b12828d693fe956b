"""reasoning_effort, which acts through the variables that a model's chat template knows."""

from __future__ import annotations

import re
from typing import Any

from hardcast.serve.errors import bad_request

EFFORT, SWITCH = "reasoning_effort", "enable_thinking"


def thinking_variables(effort: str | None, template: str | None) -> dict[str, Any]:
    """Template variables of an effort. Raises ApiError 400 where the template knows none.

    A template that has only a switch can be told "none"; so can one that never has the model think.
    """
    if effort is None or template is None:
        return {}
    if _knows(template, EFFORT):
        return {EFFORT: effort}
    if effort == "none":
        return {SWITCH: False} if _knows(template, SWITCH) else {}
    hint = f"; say it by chat_template_kwargs {SWITCH}" if _knows(template, SWITCH) else ""
    raise bad_request(f"this model's chat template knows no {EFFORT}{hint}", EFFORT)


def _knows(template: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", template) is not None
