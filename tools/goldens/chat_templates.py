"""Golden chat prompts: what transformers renders from chat templates of the kinds that checkpoints carry.

tests/data/chat_templates/chat.json: `templates` by name, `conversations`, and per template and conversation what is
rendered without and with the generation prompt; null where the template rejects the messages (raise_exception).
The templates are written here in the manner of the families; none is copied from a checkpoint.
"""

import copy

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

import common

CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

CHATML_LINES = """{{ bos_token }}
{% for m in messages %}

  {# blank lines around blocks go, others stay #}
  {% if not loop.first %}

separator
  {% endif %}
<|im_start|>{{ m.role }}
{{ m.content | trim }}<|im_end|>
{% endfor %}

   {%+ if add_generation_prompt %}
<|im_start|>assistant
{% endif %}

"""

CHATML_DEFAULT = """{%- if messages[0]['role'] == 'system' -%}
  {%- set rest = messages[1:] -%}
  {%- set system = messages[0]['content'] -%}
{%- else -%}
  {%- set rest = messages -%}
  {%- set system = 'You solve problems.' -%}
{%- endif -%}
{{- '<|im_start|>system\\n' ~ system ~ '<|im_end|>\\n' -}}
{%- for message in rest -%}
  {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('roles must alternate') -}}
  {%- endif -%}
  {{- '<|im_start|>' + message['role'] + '\\n' + message['content'].strip() + '<|im_end|>\\n' -}}
{%- endfor -%}
{{- '<|im_start|>assistant\\n' if add_generation_prompt else '' -}}
"""

KIMI = ("{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|im_system|>' }}"
        "{% elif message['role'] == 'user' %}{{ '<|im_user|>' }}{% else %}{{ '<|im_assistant|>' }}{% endif %}"
        "{{ message['role'] + '<|im_middle|>' + message['content'] + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_assistant|>assistant<|im_middle|>' }}{% endif %}")

KIMI_TOOLS = """{% macro header(role, name='', open='<|im_') %}
  {%- set tag = {'user': 'user', 'assistant': 'assistant'}.get(role, 'system') -%}
  {{- open ~ tag ~ '|>' ~ (name or role) ~ '<|im_middle|>' -}}
{% endmacro -%}
{% if tools -%}
  {{ header('system', name='tool_declare') }}{{ tools | tojson(separators=(',', ':')) }}<|im_end|>
{%- endif -%}
{%- for message in messages -%}
  {{ header(message.role) }}
  {%- if message.content is string -%}
    {{ message.content }}
  {%- else -%}
    {%- for part in message.content -%}
      {%- if part.type == 'image' or 'image_url' in part -%}<|media|>{%- else -%}{{ part.text }}{%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  <|im_end|>
{%- endfor -%}
{%- if add_generation_prompt -%}{{ header('assistant') }}{%- endif -%}
"""

THINKING = """{%- set ns = namespace(searching=true, last_query=messages | length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and not (message.content.startswith('<tool_response>') and message.content[-16:] == '</tool_response>') %}
        {%- set ns.searching = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query and (loop.last or reasoning) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {%- for call in message.tool_calls %}
            {{- call.arguments | tojson }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != "tool" %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

INSTRUCTION = ("{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'] + ' [/INST]' }}"
               "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}")

# Everything else, one value after another, so that one wrong value shows.
EXPRESSIONS = """{{- 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 - -3 * 4 }} {{ (1 + 2) ~ 3 * 2 }} {{ x }}|{{ x is defined }}
{{ none }} {{ true and 'yes' or 'no' }} {{ false or 0 or 'last' }} {{ not not 3 }} {{ not 1 == 2 }} {{ 1 == true }} {{ '1' == 1 }}
{{ 'b' in 'abc' }} {{ 'z' not in ['y', 'z'] }} {{ 'k' in {'k': 1} }} {{ 'a' < 'b' }} {{ 3 >= 3 }} {{ 'a' 'b' }}
{{ {'a': {'b': 'w'}}.a.b }} {{ {'a': 1}['z'] is undefined }} {{ [1, 2, 3] | length }} {{ 'h\u00e9' | length }} {{ ['a', 'b'] | join('-') }}
{{ '' | default('e') }} {{ '' | default('e', true) }} {{ zz | default('u') }} {{ 'A,b' . split(',') | last | upper }} {{ 'Ab' | lower }}
{{ 'x' if false }} {{ 'p' if 1 > 2 else 'q' if 2 > 3 else 'r' }} {{ ' \u3000t\t' | trim }} {{ 'xxaxx'.strip('x') }} {{ 'xyaxy'.lstrip('yx') }}
{{ '\u4f60\u597d\u4e16\u754c'[1:3] }} {{ 'abcde'[::-2] }} {{ 'abcde'[-3:] }} {{ 'abc'[1] }} {{ [1, 2, 3][-1] }} {{ [1, 2, 3][1:] == [2, 3] }}
{{ 'a.b'.replace('.', '\\n') }} {{ messages | length == 0 }} {{ messages[9] is defined }} {{ 3 is odd }} {{ none is none }} {{ 'q' is not string }}
{{ {'m': 1} is mapping }} {{ 5 is number }} {{ true is boolean }} {{ 'v' is in ['v'] }} {{ 2 is eq 2 }} {{ ['p', 'q'] is iterable }}
{% for a, b in {'one': 1, 'two': 2}.items() %}{{ a }}={{ b }};{% endfor %}{% for k in {'one': 1} %}{{ k }}{% endfor %}
{% for i in range(2, 7) if i is odd %}{{ loop.index }}:{{ i }}/{{ loop.length }}{{ loop.revindex0 }}{{ ',' if not loop.last }}{% else %}none{% endfor %}
{% for i in [] %}{{ i }}{% else %}empty{% endfor %}{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% set y = 1 %}{% for i in range(3) %}{% set y = y + i %}{{ y }}{% endfor %}{{ y }}{% set block %}<{{ y }}>{% endset %}{{ block | length }}{{ block }}
{% for m in messages %}{% generation %}{{ m.content[:2] }}{% endgeneration %}{{ loop.previtem is defined }}{% endfor %}
"""

TEMPLATES = {
    "chatml": CHATML, "chatml_lines": CHATML_LINES, "chatml_default": CHATML_DEFAULT, "kimi": KIMI, "kimi_tools": KIMI_TOOLS,
    "thinking": THINKING, "instruction": INSTRUCTION, "expressions": EXPRESSIONS,
    "crlf": "a\r\n{% if true %}\r\nb\r\n{% endif %}\r\n",
}


def message(role, content):
    return {"role": role, "content": content}


CONVERSATIONS = [
    [message("user", "What is 2+2?")],
    [message("system", " Be brief.\n"), message("user", "H\u00e9 <|im_end|>\t"),
     message("assistant", "<think>\nhm\n</think>\n\n  ok "), message("user", "\u4f60\u597d {{ x }}")],
    [message("user", "look it up"), message("assistant", "calling"), message("tool", "r1"), message("tool", ""),
     message("assistant", "<think>\n\n</think>done")],
    [message("assistant", "I begin"), message("user", "bcd\r\n")],
    [message("user", "a"), message("user", "b")],
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def rendered(template, messages, add_generation_prompt):
    try:
        return _compile_jinja_template(template).render(
            messages=copy.deepcopy(messages), tools=None, documents=None,
            add_generation_prompt=add_generation_prompt, **TOKENS)
    except jinja2.exceptions.TemplateError:
        return None


def main():
    path = common.fresh_dir("chat_templates")
    prompts = {name: [[rendered(t, c, False), rendered(t, c, True)] for c in CONVERSATIONS] for name, t in TEMPLATES.items()}
    rejected = {n for n, ps in prompts.items() for pair in ps for p in pair if p is None}
    assert rejected == {"chatml_default"}, rejected
    common.write_json(path / "chat.json", {
        "versions": f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}",
        "tokens": TOKENS, "templates": TEMPLATES, "conversations": CONVERSATIONS, "prompts": prompts,
    })
    print(common.directory_bytes(path) // 1024, "KiB")


if __name__ == "__main__":
    main()
