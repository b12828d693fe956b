"""Writes the packaged calibration text anew: what the 4-bit virtual chip of SmolLM2 says.

The text that `build` calibrates with must be free to ship and of many kinds. This one is
generated: the chip answers the requests below, a fixed seed each, and integers make the text the
same on every machine.

  python benchmarks/calibration_text.py IMAGE > hardcast/quantize/calibration.txt

IMAGE: `hardcast build smollm2-135m -o IMAGE` (recipe 4bit).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hardcast.engine import Engine
from hardcast.image import open_image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.tokenizer import Tokenizer, TokenizerSpec

TOKENS = 400  # of an answer, at most
BATCH = 16  # answers at a time

KINDS = [
    "Write an encyclopedia article about {}.",
    "Write a short story about {}.",
    "Explain {} to a student, step by step, with an example.",
    "Write a newspaper report about {}.",
    "Write a dialogue between two people who disagree about {}.",
    "List ten facts about {} and comment on each.",
    "Write a formal letter about {}.",
    "Write an essay on the history of {}.",
]
TOPICS = [
    "the sea",
    "electric motors",
    "the city of Lisbon",
    "a lost dog",
    "prime numbers",
    "the French Revolution",
    "bread",
    "the human heart",
    "railways",
    "a court trial",
    "volcanoes",
    "chess",
]
CODE = [
    "Write a Python function that merges two sorted lists, and explain it.",
    "Write a C program that counts the words of a file.",
    "Write a SQL query for the ten largest customers and explain each clause.",
    "Write an HTML page with a table of planets.",
    "Solve the equation 3x + 7 = 22 and check the result.",
    "Write a shell script that backs up a folder, with comments.",
    "Translate ten common English phrases into French and Spanish.",
    "Write a recipe for vegetable soup with quantities in grams.",
]


def requests() -> list[str]:
    """What the chip is asked: every topic in two kinds of text, then code, numbers and tables."""
    pairs = [(i, kind) for i in range(len(TOPICS)) for kind in (i, i + len(KINDS) // 2)]
    return [KINDS[kind % len(KINDS)].format(TOPICS[i]) for i, kind in pairs] + CODE


def answers(engine: Engine, tokenizer: Tokenizer, prompts: list[str], first: int) -> list[str]:
    """The chip's answers, generated together. first: seed of the first one."""
    sessions = [engine.session() for _ in prompts]
    chats = [tokenizer.chat_prompt([{"role": "user", "content": prompt}]) for prompt in prompts]
    texts: list[list[int]] = [[] for _ in prompts]
    waiting = {i: tokenizer.encode(chat) for i, chat in enumerate(chats)}
    while waiting:
        rows = engine.forward_batch([(sessions[i], part, "last") for i, part in waiting.items()])
        for i, row in zip(list(waiting), rows, strict=True):
            settings = SamplerSettings.from_user(0.9, 40, 0.95, seed=first + i)
            token = engine.sample(np.asarray(row[-1]), settings, sessions[i].length)
            if token in tokenizer.eos_ids or len(texts[i]) == TOKENS:
                del waiting[i]
            else:
                texts[i].append(token)
                waiting[i] = [token]
    return [tokenizer.decode(text) for text in texts]


def main() -> None:
    image = open_image(Path(sys.argv[1]))
    tokenizer = Tokenizer(TokenizerSpec.from_json(image.tokenizer_json()))
    engine, prompts = Engine(image), requests()
    for first in range(0, len(prompts), BATCH):
        for text in answers(engine, tokenizer, prompts[first : first + BATCH], first):
            print(text.strip(), end="\n\n")
        print(f"{first + BATCH} of {len(prompts)}", file=sys.stderr)


if __name__ == "__main__":
    main()
