"""Lists what can be built: architectures, packaged models, and shapes known by name.

A packaged model is fetched by its name. A shape is a published model's sizes without its weights,
so that a chip for it can be sized before anything is downloaded.

Example:
  hardcast models
"""

from __future__ import annotations

import argparse
from typing import Any

from hardcast.checkpoint import cached, packaged_models
from hardcast.console import Console, amount, table
from hardcast.models import architectures
from hardcast.models.shapes import get_shape, shape_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    shapes = [get_shape(name) for name in shape_names()]
    console.print(f"architectures: {', '.join(architectures())}\n")
    packaged = list(packaged_models().values())
    header = ["packaged", "size", "cached", "license", "title"]
    rows = [[m.name, amount(m.size_bytes), seen(m.name), m.license, m.title] for m in packaged]
    console.print(table(header, rows) + "\n")
    header = ["shape", "architecture", "parameters", "layers", "hidden", "context"]
    rows = [
        [
            shape.name,
            shape.config.architecture,
            f"{shape.parameters:,}",
            str(shape.config.num_hidden_layers),
            str(shape.config.hidden_size),
            str(shape.config.max_position_embeddings),
        ]
        for shape in shapes
    ]
    console.print(table(header, rows))
    return {
        "list": [
            *({"kind": "architecture", "name": name} for name in architectures()),
            *(
                {
                    "kind": "packaged",
                    "name": model.name,
                    "title": model.title,
                    "size_bytes": model.size_bytes,
                    "sha256": model.sha256,
                    "license": model.license,
                    "terms": model.terms or None,
                    "cached": cached(model.name) is not None,
                }
                for model in packaged
            ),
            *(
                {
                    "kind": "shape",
                    "name": shape.name,
                    "architecture": shape.config.architecture,
                    "parameters": shape.parameters,
                    "source": shape.source,
                }
                for shape in shapes
            ),
        ]
    }


def seen(name: str) -> str:
    """Whether a packaged model works offline already."""
    return "yes" if cached(name) else "no"
