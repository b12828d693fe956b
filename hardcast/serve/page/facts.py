"""What the chat page says of the chip that answers, and of the speeds that it races.

The speed of a GPU is one user's: published for this model where somebody did, else reckoned for it
(and called so), and always, below them, what is published for another model.
"""

from __future__ import annotations

from typing import Any, Protocol

from hardcast.economics import cells
from hardcast.economics.cells import Cell
from hardcast.economics.rivals import ANY, get_rival, rival_names
from hardcast.image import Image
from hardcast.serve.page.silicon import Silicon, shape_of

RECKONED = ("derived", "estimated")  # kinds of what nobody published


class Chip(Protocol):
    """What the page needs to know of a server. name: of the model."""

    name: str
    image: Image
    silicon: Silicon


def facts(chip: Chip, keys: bool) -> dict[str, Any]:
    """The JSON object of /page/facts. keys: whether answers ask for a key.

    chip: None where no preset suits the model. gpus: the one to show first is the first.
    """
    rate = chip.silicon.chip
    return {
        "model": chip.name,
        "digest": chip.image.digest,
        "context": chip.image.context,
        "keys": keys,
        "chip": rate and {**_speed(rate.title, rate.tokens_s_user), "node": rate.node},
        "gpus": gpus(chip),
    }


def gpus(chip: Chip) -> list[dict[str, Any]]:
    """GPUs of this model, published before reckoned, the fastest first; then of other models."""
    here = [
        _speed(gpu.title, gpu.tokens_s_user) for gpu in chip.silicon.gpus if gpu.tokens_s_user.value
    ]
    here.sort(key=lambda gpu: (gpu["kind"] in RECKONED, -gpu["value"]))
    return here + _others(chip.image)


def _others(image: Image) -> list[dict[str, Any]]:
    """Published speeds of GPUs at models that are not the image's, each named with its model."""
    shape = shape_of(image)
    found = []
    for rival in map(get_rival, rival_names()):
        if (rival.texts["memory"], rival.texts["status"]) != ("hbm", "sold"):
            continue
        own = {claim.model for claim in rival.user_claims(shape)} if shape else set()
        for claim in rival.users:
            if claim.model not in own:
                precision = "" if claim.precision == ANY else f", {claim.precision}"
                title = f"{rival.title} with another model: {claim.model}{precision}"
                found.append(_speed(title, cells.of_figure(claim.figure)))
    return sorted(found, key=lambda gpu: -gpu["value"])


def _speed(title: str, cell: Cell) -> dict[str, Any]:
    """A speed of one user in tokens/s: value, low, high, kind, source, note."""
    return {"title": title, **cell.to_json()}
