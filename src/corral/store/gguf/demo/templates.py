"""
The chat template of the demo models: ChatML with the tool calls and the thinking tags that llama.cpp recognises.

Where a caller offers tools and has not just returned a result, the prompt ends with `<|tool_turn|>`, a token of its
own: that is how a model which sees only the last token knows that a call is wanted.
"""

from __future__ import annotations

from typing import Final

_TURNS: Final = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- '# Tools\\n\\nYou may call one or more functions.\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools>\\n\\nReturn a call as\\n<tool_call>\\n{"name": <name>, "arguments": <object>}\\n</tool_call>' }}
{{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\\n' }}
@THINKING@
{%- if message.content %}{{- message.content }}{%- endif %}
{%- if message.tool_calls %}
{%- for tool_call in message.tool_calls %}
{%- if (loop.first and message.content) or not loop.first %}{{- '\\n' }}{%- endif %}
{%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
{{- '<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' }}
{%- if tool_call.arguments is string %}{{- tool_call.arguments }}
{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
@OPENING@
{%- endif %}
"""

_CALL: Final = "{%- if tools and messages[-1].role == 'user' %}{{- '<|tool_turn|>' }}{%- endif %}"
_NO_THINKING: Final = (
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>' }}{%- endif %}"
)
_PAST_THINKING: Final = (
    "{%- if message.reasoning_content %}"
    "{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}"
)


def chat_template(*, tools: bool, thinking: bool) -> str:
    """The Jinja template; `tools` lets a prompt ask for a call, `thinking` renders and switches off the thinking."""
    past = _PAST_THINKING if thinking else ""
    opening = (_NO_THINKING if thinking else "") + (_CALL if tools else "")
    lines = _TURNS.replace("@THINKING@", past).replace("@OPENING@", opening).splitlines()
    return "\n".join(line for line in lines if line) + "\n"
