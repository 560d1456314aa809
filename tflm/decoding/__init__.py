"""Generation: one loop inside the graph, for every model that has `initial_state`, `step`, `extend_state`.

`generate.py` holds the loops, `rows.py` what is known of each row, `choose.py` how one token is chosen. Each
setting stands in a file of its own name: `temperature.py`, `top_k.py`, `top_p.py`, `min_p.py`,
`repetition_penalty.py`, `min_new_tokens.py`. docs/generation.md is the page for users.
"""

from tflm.decoding.config import DecodingConfig, settings_specs, settings_tensors
from tflm.decoding.generate import (
    Generation,
    LanguageModel,
    Progress,
    advance,
    begin,
    generate,
    progress_specs,
)

__all__ = [
    "DecodingConfig",
    "Generation",
    "LanguageModel",
    "Progress",
    "advance",
    "begin",
    "generate",
    "progress_specs",
    "settings_specs",
    "settings_tensors",
]
