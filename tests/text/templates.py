"""Small chat templates of the kinds that published models have, and what `from_jinja` needs for each."""

MARKED = """{%- if messages[0].role != 'system' -%}
    {{- '<|begin|>system\\nBe kind.<|end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {{- '<|begin|>' + message.role + '\\n' + message.content + '<|end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|begin|>assistant\\n' -}}
{%- endif -%}"""
"""Every message between two tokens; a system text of its own."""

TRIMMED = """{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|begin|>' + message.role + '\\n' + message.content | trim + '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|begin|>assistant\\n' -}}{%- endif -%}"""
"""Contents lose the white space around them."""

IN_FIRST_TURN = """{%- set before = '' -%}
{%- set turns = messages -%}
{%- if messages[0].role == 'system' -%}
    {%- set before = messages[0].content + '\\n\\n' -%}
    {%- set turns = messages[1:] -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message.role == 'user') == (loop.index0 % 2 == 1) -%}{{ raise_exception('in turn, please') }}{%- endif -%}
    {{- '<|begin|>' + ('model' if message.role == 'assistant' else 'user') + '\\n' -}}
    {{- (before if loop.first else '') + message.content + '<|end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|begin|>model\\n' -}}{%- endif -%}"""
"""The system text stands in the first turn of the user; turns must alternate."""

PLAIN = """{%- for message in messages -%}
    {%- if message.role == 'system' -%}{{ raise_exception('no system text') }}{%- endif -%}
    {%- if message.role == 'user' -%}{{- '[ASK] ' + message.content + ' [/ASK]' -}}
    {%- else -%}{{- message.content + eos_token -}}{%- endif -%}
{%- endfor -%}"""
"""No special token before an answer, and no system text."""

THINKING = """{%- set last = namespace(user=-1) -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}{%- set last.user = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- set content = message.content -%}
    {{- '<|begin|>' + message.role + '\\n' -}}
    {%- if message.role == 'assistant' -%}
        {%- set thoughts = '' -%}
        {%- if '</think>' in content -%}
            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
        {%- endif -%}
        {%- if loop.index0 > last.user and loop.last -%}
            {{- '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' -}}
            {%- set content = content.lstrip('\\n') -%}
        {%- endif -%}
    {%- endif -%}
    {{- content + '<|end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|begin|>assistant\\n' -}}
    {%- if thinking is defined and not thinking -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}"""
"""Earlier answers lose their thoughts."""

DATED = "{{ '<|begin|>system\\nToday is ' + strftime_now('%d %B %Y') + '<|end|>\\n' }}" + PLAIN
"""Asks for the date."""

BY_NUMBER = """{%- for message in messages -%}
    {{- message.role + ' ' + loop.index | string + ': ' + message.content + eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"""
"""What stands between two messages depends on how many there are."""

TOGETHER = """{%- set first = messages[0].content -%}
{%- for message in messages -%}
    {%- set content = message.content -%}
    {%- if loop.index0 == 1 and messages[0].role == 'system' -%}
        {%- set content = (first + '\\n' + content) | trim -%}
    {%- endif -%}
    {%- if message.role != 'system' -%}{{- '<|begin|>' + content + '<|end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|begin|>' -}}{%- endif -%}"""
"""Trims the system text and the first question together."""

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}
