"""What a folder holds instead of a model: one line that says what it is, and what to try.

Weights that other tools quantised, adapters, other packings. Nothing here reads a weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hardcast.checkpoint.base import read_json
from hardcast.errors import HardcastError

ADAPTER = "adapter_config.json"
NOT_THE_MODEL = ("adapter_model.", "consolidated")  # .safetensors files in another packing
WHOLE = "give the model that it was made from, or it in GGUF, GPTQ, AWQ, MLX or pack-quantized form"
# Ends of names that no plain model has, and the tool that writes them; the first that fits counts.
TOOLS = {
    ".absmax": "bitsandbytes (4 bits)",
    ".quant_map": "bitsandbytes (4 bits)",
    ".SCB": "bitsandbytes (8 bits)",
    ".q_invperm": "ExLlamaV2 (EXL2)",
    ".q_scale_max": "ExLlamaV2 (EXL2)",
    ".trellis": "ExLlamaV3 (EXL3)",
    ".W_q": "HQQ",
    ".Qidxs": "QuIP#",
    ".codebooks": "AQLM",
    ".weight_packed": "compressed-tensors",
    ".weight_scale_inv": "FP8 in blocks",
    ".g_idx": "GPTQ",
    ".qzeros": "GPTQ or AWQ",
    ".qweight": "GPTQ or AWQ",
    ".weight._data": "quanto",
    ".biases": "MLX",
    ".weight_scale": "compressed-tensors or ModelOpt",
}


def no_config(folder: Path) -> HardcastError:
    """Why a folder without config.json is no model."""
    where = folder / "config.json"
    if (folder / ADAPTER).is_file():
        base = read_json(folder / ADAPTER).get("base_model_name_or_path")
        return HardcastError(
            f"{folder}: an adapter (LoRA) for {base!r:.100}, no model; merge it into its model "
            f"first (peft: merge_and_unload, then save_pretrained) and give that folder"
        )
    if (folder / "params.json").is_file():
        return HardcastError(
            f"{where}: not found, but params.json: a model in its maker's own packing; give its "
            f"Hugging Face form (config.json, model.safetensors) or a GGUF file"
        )
    if (inner := _model_below(folder)) is not None:
        return HardcastError(f"{where}: not found; a model is in a folder below: give {inner}")
    return HardcastError(
        f"{where}: not found; a model is a folder with config.json and model.safetensors, or a "
        f".gguf file"
    )


def _model_below(folder: Path) -> Path | None:
    """The newest folder with a model directly below, or among a hub cache's snapshots.

    For a snapshot of a .gguf file the file itself.
    """
    found = [
        file
        for place in ("*", "snapshots/*")
        for name in ("config.json", "*.gguf")
        for file in folder.glob(f"{place}/{name}")
    ]
    newest = max(found, key=lambda file: file.parent.stat().st_mtime, default=None)
    if newest is None or newest.suffix == ".gguf":
        return newest
    return newest.parent


def no_weights(wanted: Path) -> HardcastError:
    """Why a folder with config.json and without `wanted` is no model."""
    folder = wanted.parent
    if any(folder.glob("consolidated*")):
        return HardcastError(
            f"{wanted}: not found, but consolidated.*: weights in their maker's own packing; give "
            f"the model's Hugging Face form (model.safetensors) or a GGUF file"
        )
    if (folder / ADAPTER).is_file():
        return no_config(folder)
    pickled = sorted(
        {path.suffix for end in ("bin", "pth", "pt") for path in folder.glob(f"*.{end}")}
    )
    if pickled:
        return HardcastError(
            f"{folder}: only pickled weights ({', '.join(pickled)}), which are never loaded; "
            f"convert them with transformers: save_pretrained(folder, safe_serialization=True)"
        )
    return HardcastError(
        f"{wanted}: not found; a model's folder needs it (of a hub repository of GGUF files name "
        f"one: org/name/file.gguf)"
    )


def own_weights(folder: Path) -> list[Path]:
    """The folder's .safetensors files but for those in another packing."""
    files = sorted(folder.glob("*.safetensors"))
    return [file for file in files if not file.name.startswith(NOT_THE_MODEL)]


def notes(folder: Path) -> list[str]:
    """What lies beside a model and is not part of the chip."""
    if (folder / ADAPTER).is_file():
        return [f"{folder / ADAPTER}: an adapter lies beside the model and is not applied"]
    return []


def settings_beside(folder: Path) -> dict[str, Any]:
    """What older tools wrote beside config.json of how the weights are quantised; {} if nothing."""
    for name in ("quantize_config.json", "quant_config.json"):
        if (folder / name).is_file():
            return read_json(folder / name)
    return {}


def tool_of(names: Iterable[str]) -> str | None:
    """The tool whose packing some tensors have, by the ends of their names."""
    names = list(names)
    return next((t for end, t in TOOLS.items() if any(n.endswith(end) for n in names)), None)


def refuse_quantized(where: Path, config: dict[str, Any], names: list[str]) -> None:
    """Raises HardcastError if the weights are quantised in a form of another tool's.

    where: config.json's path; config: its content; names: of the tensors.
    """
    tool = tool_of(names)
    for key in ("quantization_config", "compression_config", "quantization"):
        said = config.get(key)
        if not said:
            continue
        method = _method(key, said)
        if tool is None:
            raise HardcastError(
                f"{where}: {key} says {method}, which is not supported; {WHOLE}; if the weights "
                f"are whole again (merged, dequantized), take {key} out of config.json"
            )
        raise HardcastError(
            f"{where}: weights quantised by {method} ({key}) are not supported; {WHOLE}"
        )
    if tool is not None:
        raise HardcastError(
            f"{where.parent}: weights quantised by {tool} are not supported; {WHOLE}"
        )


def _method(key: str, said: Any) -> str:
    """What a quantization_config calls its method, and the bits if it says so."""
    if not isinstance(said, dict):
        return f"{said!r:.40}"
    method = said.get("quant_method")
    if method is None and key == "quantization":
        method = "MLX"
    if method is None and (said.get("load_in_4bit") or said.get("load_in_8bit")):
        method = "bitsandbytes"
    bits = said.get("bits", said.get("w_bit"))
    if bits is None:
        bits = 4 if said.get("load_in_4bit") else 8 if said.get("load_in_8bit") else None
    text = f"{method or 'a method of no name'!s:.40}"
    return text if bits is None else f"{text} ({bits!s:.10} bits)"
