"""Bits against quality against speed: builds a model with several recipes and measures each image.

For every recipe: `hardcast build`, `hardcast eval --against MODEL` on the text given, `hardcast
bench`. With --gguf, files of llama.cpp's own kinds of the same model join the table: their
weights as the `gguf` package dequantises them, with float activations, on the same windows.

  python benchmarks/recipes.py --text held_out.txt --recipes 4bit,3/6,3bit --out DIR
  python benchmarks/recipes.py --text held_out.txt --recipes '' --gguf q3_k_m.gguf,q4_0.gguf
  python benchmarks/recipes.py --text held_out.txt --recipes '' --codes codebook-3-64,symmetric-3-0

--codes compares forms of a code, all else equal: KIND-BITS-GROUP becomes a recipe that codes every
matrix of the layers so, rotated and rounded by GPTQ, with two planes for embedding and head.

Images stay in DIR and are taken again, so that a second run only measures. Use text that is
neither the calibration's nor of its kind.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hardcast import models
from hardcast.checkpoint import open_checkpoint
from hardcast.commands.talk.eval import read_text
from hardcast.evaluate.perplexity import cut, log_softmax
from hardcast.quantize import recipe as recipes
from hardcast.quantize.float_forward import FloatModel
from hardcast.quantize.folding import Plain
from hardcast.tokenizer import Tokenizer, spec_from_source

CODEBOOK_OF = {"3": "3bit", "4": "4gptq"}  # the packaged recipe whose codebook is taken, by bits
TWO_PLANES = """
[roles.{role}]
kind = "symmetric"
bits = {bits}
planes = 2
group_size = 64
"""


def hardcast(*arguments: str) -> dict[str, Any]:
    """Runs a verb with --json; its progress goes to the terminal."""
    command = [sys.executable, "-m", "hardcast", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def measure_recipe(args: argparse.Namespace, recipe: str) -> dict[str, Any]:
    """Builds (unless it is there), evaluates and times a recipe; "auto:3.5": auto --bits 3.5."""
    name, _, bits = recipe.partition(":")
    short = Path(name).stem if name.endswith(".toml") else recipe
    folder = args.out / f"{re.sub('[^a-zA-Z0-9.]+', '-', short)}.image"
    row: dict[str, Any] = {"recipe": recipe}
    if not folder.exists():
        extra = ["--bits", bits] if bits else []
        built = hardcast("build", args.model, "-o", str(folder), "--recipe", name, *extra)
        row["build_s"] = round(built["seconds"], 1)
    seen = hardcast("inspect", str(folder))
    text = ["--text", str(args.text), "--windows", str(args.windows), "--against", args.model]
    measured = hardcast("eval", str(folder), *text)
    speed = hardcast("bench", str(folder), "--runs", "3")
    return {
        **row,
        "bits": seen["bits_per_weight"],
        "rom_mbit": seen["rom_bits"] / 1e6,
        "perplexity": measured["perplexity"],
        "increase": measured["increase"],
        "kl": measured["kl_mean"],
        "top1": measured["top1_agreement"],
        "decode": speed["decode_tokens_s"],
        "prefill": speed["prefill_tokens_s"],
    }


def measure_code(args: argparse.Namespace, code: str) -> dict[str, Any]:
    """A recipe whose layers are all coded alike: KIND-BITS-GROUP; GROUP 0: one scale a row."""
    kind, bits, group = code.split("-")
    if kind == "codebook" and bits not in CODEBOOK_OF:
        sys.exit(f"--codes {code}: there are codebooks of {', '.join(CODEBOOK_OF)} bits")
    text = f'rotate = true\nrounding = "gptq"\nsummary = "{code}"\n\n[default]\nkind = "{kind}"\n'
    text += f"bits = {bits}\ngroup_size = {group}\n"
    if kind == "codebook":
        text += f"codebook = {list(recipes.get(CODEBOOK_OF[bits]).default.codebook)}\n"
    for role in ("embed_tokens", "lm_head", "head_rotation"):
        text += TWO_PLANES.format(role=role, bits=4 if role == "head_rotation" else bits)
    recipe = args.out / f"{code}.toml"
    recipe.write_text(text)
    return {**measure_recipe(args, str(recipe)), "recipe": code}


def measure_gguf(args: argparse.Namespace, file: str) -> dict[str, Any]:
    """The weights of a GGUF file in float, on the same windows as the recipes."""
    exact, other = float_model(args.model), float_model(file)
    checkpoint = open_checkpoint(args.model)
    tokenizer = Tokenizer(spec_from_source(checkpoint.tokenizer_source()))
    ids = tokenizer.encode(read_text(args.text), special=False, add_bos=False)
    bos_id = tokenizer.bos_id if tokenizer.spec.add_bos else None
    loss, loss_exact, kl, agreed = [], [], [], []
    for piece in cut(ids, 512, args.windows, bos_id):
        targets, rows = np.array(piece[1:]), np.arange(len(piece) - 1)
        ours, theirs = (log_softmax(m.logits(piece[:-1])) for m in (exact, other))
        loss.append(-theirs[rows, targets].mean())
        loss_exact.append(-ours[rows, targets].mean())
        kl.append((np.exp(ours) * (ours - theirs)).sum(axis=1).mean())
        agreed.append((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
    perplexity = float(np.exp(np.mean(loss)))
    bits, weights = stored_bits(file)
    return {
        "recipe": Path(file).stem,
        "bits": bits / weights,
        "rom_mbit": bits / 1e6,
        "perplexity": perplexity,
        "increase": perplexity / float(np.exp(np.mean(loss_exact))) - 1,
        "kl": float(np.mean(kl)),
        "top1": float(np.mean(agreed)),
    }


def float_model(model: str) -> FloatModel:
    """A checkpoint in float32, its weights kept in memory."""
    checkpoint = open_checkpoint(model)
    program = models.build_program(checkpoint.config)
    plain = Plain(checkpoint, program)
    return FloatModel(program, checkpoint.config, plain.tensor, cache=True)


def stored_bits(file: str) -> tuple[int, int]:
    """Bits and weights of a GGUF file's matrices."""
    from gguf import GGUFReader

    matrices = [tensor for tensor in GGUFReader(file).tensors if len(tensor.shape) == 2]
    bits = sum(8 * int(tensor.n_bytes) for tensor in matrices)
    return bits, sum(int(tensor.n_elements) for tensor in matrices)


def line(row: dict[str, Any]) -> str:
    """One row of a Markdown table."""
    speed = f"{row['decode']:.0f} / {row['prefill']:.0f}" if "decode" in row else ""
    return (
        f"| {row['recipe']} | {row['bits']:.2f} | {row['rom_mbit']:.0f} | "
        f"{row['perplexity']:.2f} | {row['increase']:+.1%} | {row['kl']:.4f} | "
        f"{row['top1']:.1%} | {speed} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--recipes", default="4bit,4/8,3/6,3bit")
    parser.add_argument("--codes", default="", help="KIND-BITS-GROUP, with commas")
    parser.add_argument("--gguf", default="", help="files of llama.cpp's kinds, with commas")
    parser.add_argument("--out", type=Path, default=Path("out/recipes"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.json:
        print("| recipe | bits | Mbit | perplexity | over float | KL | top-1 | decode / prefill |")
        print("|---|---|---|---|---|---|---|---|")
    rows = []
    kinds = (
        (measure_recipe, args.recipes),
        (measure_code, args.codes),
        (measure_gguf, args.gguf),
    )
    for measure, names in kinds:
        for name in filter(None, names.split(",")):
            rows.append(measure(args, name))
            if not args.json:
                print(line(rows[-1]), flush=True)
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
