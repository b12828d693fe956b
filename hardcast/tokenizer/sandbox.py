"""jinja2's sandbox with its memory and time bounded as well.

The sandbox of jinja2 keeps a template from Python's attributes. It does not keep it from filling
the memory (`'x' * 10**10`, a list of a list of a list) or from looping for ever. Here every value
that a template makes is measured on the way, deeply, and paid for out of one budget, so what
remains is bounded: no value over VALUE_LIMIT, no more than WORK_LIMIT of all together, no more than
LINE_LIMIT lines or TIME_LIMIT_S seconds run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import FrameType
from typing import Any

import jinja2
import jinja2.compiler
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils

VALUE_LIMIT = 16 << 20  # letters and items of one value, all that it holds included
WORK_LIMIT = 256 << 20  # letters and items read and made by all operations of one rendering
LINE_LIMIT = 2_000_000  # lines of the compiled template, a second or two
TIME_LIMIT_S = 10.0  # for what is counted in no other way, such as comparing long texts
NUMBER_LIMIT = 100_000  # of a width or count given to a filter or a method
BITS_LIMIT = 4096  # of a whole number
# Not needed by any chat template, and able to work long on little: not offered.
NO_FILTERS = ("format", "pprint", "urlize", "wordwrap")
NO_GLOBALS = ("lipsum",)


_SIZED = (str, bytes, list, tuple, dict)


class TemplateRefused(jinja2.TemplateError):
    """A template asked for more than a prompt can need, or refused by raise_exception."""


class Meter:
    """What one rendering has used so far."""

    def __init__(self) -> None:
        self.lines = 0
        self.work = 0
        self.deadline = time.monotonic() + TIME_LIMIT_S
        # id -> (container, deep size): the reference keeps the id from being used again.
        self.sizes: dict[int, tuple[Any, int]] = {}

    def measure(self, value: Any) -> int:
        """Letters and items of a value with all that it holds; 1 for a plain one."""
        if isinstance(value, str | bytes):
            size = len(value)
        elif isinstance(value, list | tuple | dict):
            known = self.sizes.get(id(value))
            if known is not None:
                return known[1]
            inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            size = 1 + sum(self.measure(item) for item in inner)
            self.sizes[id(value)] = (value, size)
        elif isinstance(value, jinja2.utils.Namespace):
            # Its attributes can change after it was measured.
            raise TemplateRefused("a namespace may only be read and set, not passed on")
        else:
            return 1
        if size > VALUE_LIMIT:
            raise TemplateRefused("a value grows too large")
        return size

    def pay(self, work: int) -> None:
        """Takes `work` out of the budget."""
        self.work += work
        if self.work > WORK_LIMIT:
            raise TemplateRefused("it works on too much text in all")

    def made(self, value: Any) -> Any:
        """Measures and pays for a new value; returns it."""
        self.pay(self.measure(value))
        return value

    def given(self, arguments: tuple[Any, ...]) -> None:
        """Checks what an operation is given before it runs: two large arguments may multiply."""
        for value in arguments:
            self.measure(value)
        # Of a container only its items count here: what is made out of all it holds is paid then.
        sizes = [len(v) if isinstance(v, _SIZED) else 1 for v in arguments]
        self.pay(sum(sizes))
        for value in arguments:
            if isinstance(value, int) and not isinstance(value, bool):
                if abs(value) > NUMBER_LIMIT:
                    raise TemplateRefused(f"a call is given a number over {NUMBER_LIMIT}")
                sizes.append(abs(value))
        first, second = sorted([1, 1, *sizes])[-2:]
        if first * second > WORK_LIMIT:
            raise TemplateRefused("a call could make too large a value")


_meter: ContextVar[Meter] = ContextVar("meter")


def _current() -> Meter:
    """The rendering's meter; while a template is compiled, one that nobody reads."""
    return _meter.get(None) or Meter()


@contextmanager
def metered(template: jinja2.Template) -> Iterator[Meter]:
    """Counts lines and work while `template` renders; TemplateRefused when a limit is passed."""
    meter, name = Meter(), template.filename or "<template>"

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != name:
            return None  # jinja2's and Python's own functions run unwatched
        meter.lines += event == "line"
        if meter.lines > LINE_LIMIT or time.monotonic() > meter.deadline:
            raise TemplateRefused("it runs too long; is there an endless loop?")
        return count

    token, previous = _meter.set(meter), sys.gettrace()
    sys.settrace(count)
    try:
        yield meter
    finally:
        sys.settrace(previous)
        _meter.reset(token)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that checks what it is given and pays for what it makes."""

    @wraps(function)  # keeps jinja2's mark of a filter that wants the context first
    def call(*arguments: Any, **named: Any) -> Any:
        meter = _current()
        meter.given((*arguments, *named.values()))
        return meter.made(function(*arguments, **named))

    return call


class _Generator(jinja2.compiler.CodeGenerator):
    """Compiles a template so that literals, `~` and output are measured too."""

    def visit_Concat(self, node: jinja2.nodes.Concat, frame: Any) -> None:  # noqa: N802
        self.write("environment.concatenate(")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")")

    def visit_List(self, node: jinja2.nodes.List, frame: Any) -> None:  # noqa: N802
        self.write("environment.made(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Dict(self, node: jinja2.nodes.Dict, frame: Any) -> None:  # noqa: N802
        self.write("environment.made(")
        super().visit_Dict(node, frame)
        self.write(")")

    def visit_Tuple(self, node: jinja2.nodes.Tuple, frame: Any) -> None:  # noqa: N802
        if node.ctx != "load":  # a target: {% for key, value in ... %}
            super().visit_Tuple(node, frame)
            return
        self.write("environment.made(")
        super().visit_Tuple(node, frame)
        self.write(")")

    def _output_const_repr(self, group: Any) -> str:
        return f"environment.shown({super()._output_const_repr(group)})"


class _GenerationBlock(jinja2.ext.Extension):
    """`{% generation %}` marks an assistant's words for training; here it only shows its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Drops the tag and keeps what it holds."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class BoundedEnvironment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The immutable sandbox, measured. filters, functions: further ones, by name."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _Generator

    def __init__(
        self, filters: dict[str, Callable[..., Any]], functions: dict[str, Callable[..., Any]]
    ) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[jinja2.ext.loopcontrols, _GenerationBlock],
            finalize=self.shown,
        )
        offered = {**self.filters, **filters}
        self.filters = {k: _bounded(f) for k, f in offered.items() if k not in NO_FILTERS}
        self.globals.update(functions)
        for name in NO_GLOBALS:
            del self.globals[name]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator of the template, refused before it can make a huge value."""
        meter = _current()
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() + right.bit_length()
            if operator == "**":
                bits = left.bit_length() * abs(right)
            if bits > BITS_LIMIT:
                raise TemplateRefused("a number grows too large")
        elif operator == "*":
            count = left if isinstance(left, int) else right
            size = max(meter.measure(left), meter.measure(right))
            if isinstance(count, int) and size * abs(count) > VALUE_LIMIT:
                raise TemplateRefused("a value grows too large")
        elif operator == "%" and isinstance(left, str | bytes):
            raise TemplateRefused("the % operator is offered for numbers only")
        elif operator == "+" and meter.measure(left) + meter.measure(right) > VALUE_LIMIT:
            raise TemplateRefused("a value grows too large")
        return meter.made(super().call_binop(context, operator, left, right))

    def call(self, context: Any, function: Any, *arguments: Any, **named: Any) -> Any:
        """A call of the template; a method's own object counts as an argument."""
        meter = _current()
        owner = getattr(function, "__self__", None)
        meter.given((owner, *arguments, *named.values()))
        result = super().call(context, function, *arguments, **named)
        return result if isinstance(result, jinja2.utils.Namespace) else meter.made(result)

    def wrap_str_format(self, value: Any) -> Any:
        """str.format could pad to any width: not offered."""
        if super().wrap_str_format(value) is not None:
            raise TemplateRefused("str.format is not offered")

    def concatenate(self, *parts: Any) -> str:
        """The `~` operator."""
        meter = _current()
        sizes = [meter.measure(part) for part in parts]
        if sum(sizes) > VALUE_LIMIT:
            raise TemplateRefused("a text grows too large")
        return str(meter.made("".join([str(part) for part in parts])))

    def made(self, value: Any) -> Any:
        """A list, tuple or dictionary that the template wrote out."""
        return _current().made(value)

    def shown(self, value: Any) -> str:
        """What the template writes."""
        meter = _current()
        meter.measure(value)
        return str(meter.made(str(value)))
