"""Chat templates: what templates in use rely on, and what a hostile one must not do."""

from __future__ import annotations

import datetime
import sys
import time
import tracemalloc

import pytest

from hardcast.errors import HardcastError
from hardcast.tokenizer import sandbox
from hardcast.tokenizer.chat_template import render_chat
from tests import tiny_vocabulary

USER = {"role": "user", "content": "hi <b>"}


def test_conversation() -> None:
    text = render_chat(tiny_vocabulary.CHAT_TEMPLATE, messages=[USER], add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nYou are a tiny chip<|im_end|>\n"
        "<|im_start|>user\nhi <b><|im_end|>\n<|im_start|>assistant\n"
    )
    system = {"role": "system", "content": "short"}
    text = render_chat(tiny_vocabulary.CHAT_TEMPLATE, messages=[system, USER])
    assert text == "<|im_start|>system\nshort<|im_end|>\n<|im_start|>user\nhi <b><|im_end|>\n"


@pytest.mark.parametrize(
    "source, wanted",
    [
        # trim_blocks and lstrip_blocks: a line with a tag alone leaves nothing
        ("{% if true %}\n  {% if true %}\na\n  {% endif %}\n{% endif %}\nb", "a\nb"),
        ("{{ messages[0]['content'] }}|{{ messages[0].role }}", "hi <b>|user"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "hi <b>"}]'),
        ("{{ {'ü': [1, none]} | tojson(indent=2) }}", '{\n  "ü": [\n    1,\n    null\n  ]\n}'),
        ("{{ bos_token ~ 1 ~ eos_token }}", "<s>1</s>"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
         "13"),
        # what the sandbox withholds is undefined, and undefined prints nothing
        ("{{ strftime_now.__globals__ }}{{ ''|attr('__class__') }}", ""),
        ("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}"
         "{{ ns.n }}", "3"),
        ("{% if tools is none %}no tools{% endif %}", "no tools"),
        ("{% generation %}answer{% endgeneration %}!", "answer!"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') + m(x='b') }}", "<a><b>"),
        ("{% set x %}a{{ 1 }}b{% endset %}{{ x | upper }}", "A1B"),
        ("{{ messages[0].content.split(' ')[-1] }}{{ 'a-b'.replace('-', '+') | trim }}", "<b>a+b"),
        ("{{ messages | map(attribute='role') | join(',') }}{{ messages | length }}", "user1"),
        ("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "a1b2"),
        ("{% for a, b in [(1, 2), (3, 4)] %}{{ a * b }} {% endfor %}", "2 12 "),
        ("{{ messages[::-1][0].content[:2] }}{{ undefined_thing }}", "hi"),
        ("{{ 7 % 3 }}{{ 2 ** 10 }}{{ '=' * 3 }}{{ [1] + [2] }}", "11024===[1, 2]"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ 'system' if messages[0].role == 'system' else 'none' }}{{ loop is defined }}",
         "noneFalse"),
    ],
)  # fmt: skip
def test_what_templates_rely_on(source: str, wanted: str) -> None:
    assert render_chat(source, messages=[USER], bos_token="<s>", eos_token="</s>") == wanted


def test_date() -> None:
    year = render_chat("{{ strftime_now('%Y') }}")
    assert int(year) in (datetime.date.today().year - 1, datetime.date.today().year)


def test_long_conversations_are_no_attack() -> None:
    content = "a fair question, with <signs> " * 1000
    messages = [{"role": "user", "content": content} for _ in range(100)]
    source = (
        "{% for m in messages %}{% if loop.index0 == messages | length - 1 %}last{% endif %}"
        "{{ '<' ~ m.role + '>' + m.content | trim + m['content'].split('</think>')[-1] }}"
        "{% endfor %}"
    )
    text = render_chat(source, messages=messages)
    assert len(text) > 2 * 100 * 29 * 1000
    assert text.endswith(content)


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{% if %}",
        "{{ 1 / 0 }}",
        "{% for %}" * 500,
        "(" * 5000 + "{{" + "(" * 5000,
        "{{ " + "(" * 1000 + "1" + ")" * 1000 + " }}",
        # out of the sandbox
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__ }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ (''|attr('__class__')).mro() }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ ('{0.__class__}'.format)(1) }}",
        "{% set f = ''.format_map %}{{ f({}) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        # for ever
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(10 ** 9) %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ lipsum(100000) }}",
        "{{ range(99999) | map('center', 99999) | list | length }}",
        "{{ range(99999) | map('string') | map('replace', '', 'x' * 99999) | list | length }}",
        "{{ ('\\t' * 99999).expandtabs(99999) }}",
        # out of memory
        "{{ 'x' * 10 ** 10 }}",
        "{{ 10 ** 10 * 'x' }}",
        "{{ [0] * 10 ** 10 }}",
        "{{ 10 ** 10000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ 'x' | center(10 ** 10) }}",
        "{{ 'x'.ljust(10 ** 10) }}",
        "{{ 'x'.zfill(10 ** 9) }}",
        "{{ [1, [2, [3]]] | tojson(indent=10 ** 9) }}",
        "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
        "{{ ('x' * 99999).join('y' * 99999) }}",
        "{% set ns = namespace(x='xy') %}"
        "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='xy') %}"
        "{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=7) %}"
        "{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{% set ns = namespace(x='a') %}"
        "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='a') %}"
        "{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x='a') %}"
        "{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}"
        "{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}",
        "{% set a = namespace() %}{% set a.x = [a] %}{{ a }}",
        "{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}",
        "{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}",
        "{% macro m() %}{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}{% endmacro %}"
        "{{ m() | length }}",
        "{% set x %}{% for i in range(9999) %}{{ 'x' * 99999 }}{% endfor %}{% endset %}",
        "{{ 'x' * 99999 | batch(1) | list | join('x' * 99999) }}",
        "x" * (2 << 20),
    ],
)
def test_hostile_template(source: str) -> None:
    """One line, soon, in bounded memory; and the process is as it was."""
    trace = sys.gettrace()
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(HardcastError, match="^chat template: ") as caught:
            render_chat(source, messages=[dict(USER)])
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert peak_bytes < 300 << 20
    assert time.perf_counter() - start < 30  # tracing memory slows this down many times
    assert sys.gettrace() is trace


def test_hostile_template_that_only_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no counter sees, the clock does."""
    monkeypatch.setattr(sandbox, "TIME_LIMIT_S", 0.5)
    source = (
        "{% set a = 'x' * 9999999 %}{% set b = 'x' * 9999998 ~ 'x' %}"
        "{% for i in range(99999) %}{% if a == b and a in b and b in a %}{% endif %}{% endfor %}"
    )
    start = time.perf_counter()
    with pytest.raises(HardcastError, match="runs too long"):
        render_chat(source)
    assert time.perf_counter() - start < 10


def test_messages_are_not_changed() -> None:
    messages = [dict(USER)]
    render_chat("{% for m in messages %}{% set m = 'x' %}{% endfor %}", messages=messages)
    assert messages == [USER]
