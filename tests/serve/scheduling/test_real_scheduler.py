"""64 answers of the real model at once: each the one given alone, and together far cheaper."""

from __future__ import annotations

import asyncio
import time

import pytest

from hardcast import flow
from hardcast.engine import Engine
from hardcast.image import Image, open_image
from hardcast.serve.scheduling.request import GenerationRequest
from hardcast.serve.scheduling.scheduler import Scheduler
from hardcast.tokenizer import Tokenizer
from tests.real_model import smollm2
from tests.serve.asking import Alone, Answer, ask, read, tokenizer_of

pytestmark = pytest.mark.verify
STREAMS, TOKENS = 64, 48


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("real") / "image"
    flow.build(str(smollm2()), folder)
    return open_image(folder)


def requests(tokenizer: Tokenizer) -> list[GenerationRequest]:
    found = []
    for n in range(STREAMS):
        text = tokenizer.chat_prompt([{"role": "user", "content": f"A story of {n} foxes."}])
        ids = tokenizer.encode(text, add_bos=False)
        found.append(ask(ids, TOKENS, n % 2, seed=n, top_p=0.9 if n % 3 else 1.0, owner=str(n % 3)))
    return found


def test_together_each_is_the_answer_given_alone_at_a_third_of_the_work(image: Image) -> None:
    """Work is processor time, on one thread: it does not depend on what else the machine does."""
    tokenizer, alone = tokenizer_of(image), Alone(image)
    asked = requests(tokenizer)
    one = Scheduler(image, Engine(image, threads=1, kv_positions=16384), tokenizer)
    one.start()

    async def together(some: list[GenerationRequest]) -> tuple[list[Answer], float]:
        loop, begun = asyncio.get_running_loop(), time.process_time()
        answers = await asyncio.gather(*(read(one.submit(request, loop)) for request in some))
        seconds = time.process_time() - begun
        return answers, sum(answer.end.completion_tokens for answer in answers) / seconds

    async def both() -> None:
        _, single = await together([ask(asked[0].prompt_ids, TOKENS, 1.0, seed=99)])
        answers, all_at_once = await together(asked)
        for request, answer in zip(asked, answers, strict=True):
            assert answer.said == alone.to(request)
        assert all_at_once >= 3 * single, (all_at_once, single)

    asyncio.run(both())
    one.stop(0)
