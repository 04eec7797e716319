"""Writes chat_templates.json: what transformers renders, for tests/chat_templates.rs.

    pip install transformers jinja2
    python tests/goldens/chat_templates.py [--texts FOLDER] ../shared/data/chat-templates

Templates of the given folder are not ours: of their renderings only the SHA-256 is kept
(--texts writes them out, to look at a difference). Our own templates are kept with their texts.
The clock of strftime_now stands at 2025-07-10 12:10:45.
"""

import argparse
import datetime
import hashlib
import json
import pathlib

import jinja2
from transformers.utils import chat_template_utils as hf

HERE = pathlib.Path(__file__).parent


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2025, 7, 10, 12, 10, 45)


hf.datetime = Frozen

CONTEXTS = {
    "plain": {
        "messages": [{"role": "user", "content": "How warm is it?"}],
        "add_generation_prompt": True,
    },
    "turns": {
        "messages": [
            {"role": "system", "content": "  You watch a press.\n"},
            {"role": "user", "content": " Äpfel & <b>\"quotes\"</b> 😀\n\n"},
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\n Ja. "},
            {"role": "user", "content": "it's 3 < 4, isn't it?"},
        ],
        "add_generation_prompt": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "enable_thinking": False,
    },
    "finished": {
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
        ],
        "add_generation_prompt": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
    },
    "tools": {
        "messages": [
            {"role": "system", "content": "/no_think Be short."},
            {"role": "user", "content": "Stop press 7"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "stop_press",
                    "description": "Stops a press, \"now\" <b>",
                    "parameters": {
                        "type": "object",
                        "properties": {
                            "press": {"type": "integer", "minimum": 0, "default": None},
                            "force": {"type": "number", "maximum": 1.5},
                        },
                        "required": ["press"],
                        "strict": True,
                    },
                },
            }
        ],
        "xml_tools": [{"name": "f", "x": [1, 2.0, None, True, "it's"]}],
        "add_generation_prompt": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
    },
    "parts": {
        "messages": [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
        ],
        "add_generation_prompt": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
    },
    "empty": {"messages": [], "add_generation_prompt": True, "bos_token": "<s>"},
    "wrong-order": {
        "messages": [
            {"role": "assistant", "content": "first"},
            {"role": "assistant", "content": "second"},
        ],
        "add_generation_prompt": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
    },
}

VALUES = {
    "v": {
        "a": [1, -2, 2.5, 1e20, 1e-7, 100000.0, True, False, None],
        "s": "it's \"x\" \\ \n\t\u0001 <é> 😀 &",
        "e": [[], {}, ""],
        "n": {"b": 1, "a": {"z": [1, [2]]}},
    },
    "text": "one\n\ntwo\n  three\n",
    "messages": [{"role": "user", "content": "x"}],
    "add_generation_prompt": True,
}

OWN = {
    "tojson": "{{ v | tojson }}",
    "tojson indent": "{{ v | tojson(indent=2) }}|{{ v.n | tojson(indent=0) }}",
    "tojson separators": "{{ v | tojson(separators=(',', ':')) }}{{ v | tojson(indent=1, separators=(';', '=')) }}",
    "tojson ascii sorted": "{{ v | tojson(ensure_ascii=True, sort_keys=True) }}",
    "tojson positional": "{{ v.n | tojson(False, 3) }}",
    "str": "{{ v }}|{{ v.a | string }}|{{ none }}|{{ true }}|{{ 1.0 }}|{{ v.a[3] }}|{{ (1,) }}",
    "join": "{{ v.a | join('|') }}",
    "indent": "{{ text | indent }}|{{ text | indent(2, true) }}|{{ text | indent(first=true, blank=true) }}|{{ text | indent(width='> ') }}",
    "tests": "{% for x in [v, v.a, v.s, 1, 1.5, true, none, nothing] %}{{ x is mapping }},{{ x is sequence }},{{ x is iterable }},{{ x is string }},{{ x is number }},{{ x is none }},{{ x is defined }},{{ x is boolean }},{{ x is integer }},{{ x is float }};{% endfor %}",
    "blocks": "  {% if true %}\n  a\n  {% endif %}\nb\n{% for x in [1,2] %}\n{{ x }}\n{% endfor %}\n\nend\n\n",
    "minus": "a\n  {%- if true -%}\n  b  \n{%- endif %}\n c {{- 'd' -}}  \n e",
    "comments": "a{# x #}\nb\n  {#- y -#}  c {# {% if %} #}",
    "generation": "{% for m in messages %}{% generation %}\n{{ m.content }}\n{% endgeneration %}{% endfor %}",
    "namespace": "{% set ns = namespace(n=0, l=[]) %}{% for i in range(5) %}{% if i == 3 %}{% break %}{% elif i == 1 %}{% continue %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "loops": "{% for k, x in v.n.items() %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ k }}={{ x }};{% endfor %}{% for x in [] %}{% else %}none{% endfor %}{% for x in [1,2,3] if x > 1 %}{{ loop.revindex0 }}{{ loop.previtem }}{% endfor %}",
    "macros": "{% macro m(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}{% set c %} captured {% endset %}{{ c | trim }}",
    "methods": "{{ ' a '.strip() }}{{ 'a,b'.split(',') }}{{ 'x'.join(['a','b']) }}{{ 'abc'.startswith('ab') }}{{ 'Abc'.upper() }}{{ 'a b'.title() }}{{ 'aXb'.replace('X', '-') }}{{ '..a'.lstrip('.') }}{{ 'a..'.rstrip('.') }}{{ v.get('zz', 'dflt') }}{{ v.keys() | list }}{{ 'a</think>b</think>c'.split('</think>')[-1] }}{{ 'abc'.removeprefix('a') }}{{ 'a b c'.split() }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'abcb'.find('b') }}{{ 'a\nb'.splitlines() }}{{ 'x'.capitalize() }}",
    "slices": "{{ [1,2,3][1:] }}{{ [1,2,3][::-1] }}{{ 'abc'[:-1] }}{{ [1,2,3][-1] }}{{ messages[0]['role'] }}{{ messages[-1].content }}{{ 'abc'[1] }}",
    "filters": "{{ [3,1,2] | sort | join(',') }}{{ messages | map(attribute='role') | list }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ [1,2] | first }}{{ [1,2] | last }}{{ nothing | default('d') }}{{ 'a b' | upper }}{{ '5' | int + 1 }}{{ [1,2,3] | reject('equalto', 2) | list }}{{ v.n | items | list }}{{ v.n | dictsort }}{{ [1,1,2] | unique | list }}{{ 'abc' | replace('b', 'x') }}{{ 3.7 | int }}{{ [[1,2],[3]] | sum(start=[]) }}{{ 'a' | length }}",
    "operators": "{{ 1 ~ 'a' ~ 2 }}{{ 7 // 2 }}{{ 7 / 2 }}{{ 2 ** 3 }}{{ 7 % 3 }}{{ 'a' in 'abc' }}{{ 'z' not in v }}{{ 'ab' * 2 }}{{ [1] + [2] }}{{ 'x' if nothing else 'y' }}{{ 'x' if false }}{{ not true }}{{ 1 == 1.0 }}{{ none == false }}",
    "clock": "{{ strftime_now('%d %b %Y %A %H:%M:%S') }}",
    "raise": "{{ raise_exception('no: ' ~ 1) }}",
    "undefined attribute": "{{ nothing.at.all }}",
    "undefined prints nothing": "[{{ nothing }}][{{ v.nothing }}]",
    "raw": "{% raw %}{{ x }}{% if %}{% endraw %}|{{ '{{' }}",
    "line ends": "a\r\n{% if true %}\r\nb\r\n{% endif %}\r\nc",
    "html": "{{ '<a href=\"x\">&' }}{{ '<b>' | safe }}{{ '<b>' | e }}",
    "dict": "{{ dict(a=1) }}{{ {'a': [1]} | tojson }}{{ {'a': 1} == dict(a=1) }}",
    "call block": "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}x{% endcall %}",
    "filter block": "{% filter upper %}abc{% endfilter %}",
    "with": "{% with a = 1 %}{{ a }}{% endwith %}{{ a }}",
}


def render(template, context):
    context = dict(context)
    messages = context.pop("messages")
    texts, _ = hf.render_jinja_template([messages], chat_template=template, **context)
    return texts[0]


def case(template, context):
    try:
        return {"text": render(template, context)}
    except Exception as e:  # every kind of failure counts
        return {"error": type(e).__name__}


def main():
    args = argparse.ArgumentParser()
    args.add_argument("folder", type=pathlib.Path)
    args.add_argument("--texts", type=pathlib.Path)
    args = args.parse_args()
    contexts = dict(CONTEXTS)
    for path in sorted(args.folder.glob("context-*.json")):
        contexts[path.name] = json.loads(path.read_text())
    held = []
    for path in sorted(args.folder.iterdir()):
        if path.name.startswith("context-"):
            continue
        text = path.read_text()
        template = json.loads(text)["chat_template"] if path.suffix == ".json" else text
        for name, context in contexts.items():
            out = {"template": path.name, "context": name, **case(template, context)}
            if "text" in out:
                text = out.pop("text")
                out["sha256"] = hashlib.sha256(text.encode()).hexdigest()
                if args.texts:
                    (args.texts / f"{path.name}-{name}.txt").write_text(text)
            held.append(out)
    own = [{"name": n, "template": t, **case(t, VALUES)} for n, t in OWN.items()]
    result = {
        "jinja2": jinja2.__version__,
        "contexts": CONTEXTS,
        "values": VALUES,
        "own": own,
        "held": held,
    }
    out = HERE / "chat_templates.json"
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


main()
