"""An image as a model of the lm-eval harness, so that published task scores can be compared.

Needs the extra `lm-eval`. Token boundaries, truncation and stop strings follow the harness's own
class for transformers (HFLM). Importing this file registers the model as "hardcast", so that the
harness's functions also take `model="hardcast", model_args="image=PATH,threads=2"`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import (
    get_rolling_token_windows,
    make_disjoint_window,
    simple_parse_args_string,
)

from hardcast.errors import HardcastError
from hardcast.evaluate.answer import Question, answer
from hardcast.evaluate.lanes import LANES, Executor
from hardcast.evaluate.likelihood import Requests, Score, Scorer, score
from hardcast.numerics.sampling import SamplerSettings
from hardcast.tokenizer import Tokenizer, TokenizerSpec

Progress = Callable[[str, int, int | None], None]
Pair = tuple[Any, list[int], list[int]]  # what it is called, context, continuation

DEFAULT_ANSWER = 256  # tokens of a free answer, where a task does not say
ANSWER_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# Options of generation that change nothing at these values, and that tasks write down anyway.
NEUTRAL = {"num_beams": 1, "num_return_sequences": 1, "repetition_penalty": 1.0, "min_p": 0.0}


@register_model("hardcast")
class HardcastLM(TemplateLM):
    """lm-eval's interface over an executor of an image.

    executor: engine or golden. lanes: contexts run at once; no result depends on it. scorer: gives
    likelihoods in the executor's place; then nothing is generated.
    progress: called with (description, done, total).
    truncated: requests so far that lost their oldest tokens to the chip's context.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        lanes: int = LANES,
        scorer: Scorer | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.executor, self.lanes = executor, lanes
        self._scorer = scorer or self._score
        self._progress = progress or (lambda description, done, total: None)
        self._tokenizer = Tokenizer(TokenizerSpec.from_json(executor.image.tokenizer_json()))
        self.max_length = executor.image.context
        self.truncated = 0

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> HardcastLM:
        """From {"image": path, "threads": n, "path": native path}; the harness's own options
        (batch_size, device) mean nothing here. Raises HardcastError as opening an image does.
        """
        from hardcast.engine import Engine
        from hardcast.image import open_image

        if "image" not in arg_dict or not set(arg_dict) <= {"image", "threads", "path"}:
            raise HardcastError(
                f"model_args: expected image=PATH[,threads=N][,path=NAME], "
                f"found {', '.join(arg_dict) or 'nothing'}"
            )
        image = open_image(Path(arg_dict["image"]))
        return cls(Engine(image, threads=arg_dict.get("threads"), path=arg_dict.get("path")))

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> HardcastLM:
        """From "image=PATH,threads=2"; see create_from_arg_obj."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    # Tokens

    @property
    def eot_token_id(self) -> int:
        """The first end token of the image. Raises HardcastError if it has none."""
        ends = self._tokenizer.eos_ids
        if not ends:
            raise HardcastError(f"{self.executor.image.path}: its tokenizer names no end token")
        return ends[0]

    @property
    def prefix_token_id(self) -> int:
        """What a text without a context follows: BOS, or the end token of a model without BOS."""
        bos = self._tokenizer.bos_id
        return self.eot_token_id if bos is None else bos

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids; None begins with BOS where the model does, and never twice.

        No text is ended: what the harness encodes goes on.
        """
        begins = self._tokenizer.spec.add_bos if add_special_tokens is None else add_special_tokens
        return self._tokenizer.encode(string, add_bos=begins)

    # Chat

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer and template in the harness's own cache of requests."""
        return f"hardcast-{self.executor.image.digest}"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The image's template, for the harness's records."""
        return self._tokenizer.spec.chat_template if chat_template else None

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as text; without a generation prompt it ends inside the last message."""
        try:
            text = self._tokenizer.chat_prompt(chat_history, add_generation_prompt)
        except HardcastError:
            # As the harness does for a template that refuses a system message.
            rest = [message for message in chat_history if message["role"] != "system"]
            if len(rest) == len(chat_history):
                raise
            text = self._tokenizer.chat_prompt(rest, add_generation_prompt)
        if add_generation_prompt:
            return text
        last = chat_history[-1]["content"].rstrip()
        return text[: text.rindex(last) + len(last)]

    # What a task asks for

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether it is greedy."""
        # The harness's part makes the pairs of tokens; its bar for that would disturb ours.
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self, requests: Sequence[Pair], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        for name, context, continuation in requests:
            if not continuation:
                raise HardcastError(f"{_shown(name)}: the answer has no token after its context")
            if len(continuation) > self.max_length:
                raise HardcastError(
                    f"{_shown(name)}: an answer of {len(continuation)} tokens exceeds the chip's "
                    f"context of {self.max_length}; build with a larger --context"
                )
            self.truncated += len(context) + len(continuation) > self.max_length + 1
        counter = self._counter("log-likelihoods", len(requests))
        pairs = [(context, continuation) for _, context, continuation in requests]
        scores = self._scorer(pairs, counter)
        found = [(one.log_probability, one.greedy) for one in scores]
        for (name, _, _), result in zip(requests, found, strict=True):
            if name is not None:
                self.cache_hook.add_partial("loglikelihood", name, result)
        return found

    def _score(self, pairs: Requests, done: Callable[[int], None]) -> list[Score]:
        return score(self.executor, pairs, lanes=self.lanes, done=done)

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of whole texts, in windows of the chip's context that share one token."""
        windows: list[Pair] = []
        owners = []
        for index, request in enumerate(requests):
            for window in get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            ):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(index)
        totals = [0.0] * len(requests)
        for index, (value, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[index] += value
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers up to a stop string, the end token or the task's length."""
        questions = [
            self._question(request.args[0], request.args[1], seed)
            for seed, request in enumerate(requests)
        ]
        counter = self._counter("answers", len(requests))
        texts = answer(
            self.executor,
            self._tokenizer,
            questions,
            lanes=self.lanes,
            done=lambda text: counter(1),
        )
        for request, text in zip(requests, texts, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return texts

    def _question(self, context: str, options: dict[str, Any], seed: int) -> Question:
        """One prompt with its options. seed: differs, so that repeated draws do."""
        options = {key: value for key, value in options.items() if value is not None}
        lengths = [int(options.pop(name)) for name in ANSWER_LENGTHS if name in options]
        length = lengths[0] if lengths else DEFAULT_ANSWER
        room = self.max_length - length
        if length < 1 or room < 1:
            raise HardcastError(
                f"the task wants answers of {length} tokens and the chip's context is "
                f"{self.max_length}; build with a larger --context"
            )
        until = options.pop("until", [])
        end = self._tokenizer.decode([self.eot_token_id], skip_special=False)
        stop = (*([until] if isinstance(until, str) else until), end)
        settings = _settings(options, seed)
        prompt = self.tok_encode(context) or [self.prefix_token_id]
        self.truncated += len(prompt) > room
        return Question(tuple(prompt[-room:]), length, stop, settings)

    def _counter(self, description: str, total: int) -> Callable[[int], None]:
        finished = 0

        def count(more: int) -> None:
            nonlocal finished
            finished += more
            self._progress(description, finished, total)

        self._progress(description, 0, total)
        return count


def _settings(options: dict[str, Any], seed: int) -> SamplerSettings:
    """The sampler's settings; greedy unless the task asks for draws."""
    temperature = float(options.pop("temperature", 0.0))
    top_k, top_p = int(options.pop("top_k", 0)), float(options.pop("top_p", 1.0))
    draws = options.pop("do_sample", temperature > 0)
    left = {key: value for key, value in options.items() if NEUTRAL.get(key) != value}
    if left:
        raise HardcastError(
            f"the task's generation option {min(left)} = {left[min(left)]!r:.40} is none of the "
            f"chip's: {', '.join(ANSWER_LENGTHS[:1])}, until, do_sample, temperature, top_k, top_p"
        )
    if not draws:
        return SamplerSettings()
    return SamplerSettings.from_user(temperature or 1.0, top_k, top_p, seed)


def _shown(name: Any) -> str:
    """A request in a message: its continuation, shortened."""
    return f"{name[1]!r:.60}" if name is not None else "a window"
