"""Generation: one loop inside the graph, for every model that has `initial_state`, `step`, `extend_state`.

`generator.py` is what others call. `progress.py` holds what goes from step to step, `segments.py` the loop, `rows.py`
what is known of each row, `choose.py` how one token is chosen. Each setting stands in a file of its own name:
`temperature.py`, `top_k.py`, `top_p.py`, `stop.py`, `slide.py`, ... Other ways to write are `beam.py`, `contrastive.py`
and `speculative.py`. docs/generation.md is the page for users.

The configs and `settings_lists` need no TensorFlow; the rest is loaded when it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tflm.decoding.beam_config import BeamConfig, beam_settings_lists
from tflm.decoding.config import DecodingConfig, settings_lists

if TYPE_CHECKING:
    from tflm.decoding.beam import BeamResult, beam_search, search_beams
    from tflm.decoding.beam_settings import beam_settings_specs, beam_settings_tensors
    from tflm.decoding.contrastive import contrastive_search, contrastive_specs
    from tflm.decoding.generator import Generation, Generator, generate
    from tflm.decoding.progress import LanguageModel, Progress, open_specs
    from tflm.decoding.resuming import resume
    from tflm.decoding.settings import settings_specs, settings_tensors
    from tflm.decoding.speculative import speculate, speculative_generate
    from tflm.decoding.stop import cut_at_stop, hold_back

_HOMES = {
    "BeamResult": "beam",
    "beam_search": "beam",
    "search_beams": "beam",
    "beam_settings_specs": "beam_settings",
    "beam_settings_tensors": "beam_settings",
    "contrastive_search": "contrastive",
    "contrastive_specs": "contrastive",
    "speculate": "speculative",
    "speculative_generate": "speculative",
    "Generation": "generator",
    "Generator": "generator",
    "generate": "generator",
    "LanguageModel": "progress",
    "Progress": "progress",
    "open_specs": "progress",
    "resume": "resuming",
    "settings_specs": "settings",
    "settings_tensors": "settings",
    "cut_at_stop": "stop",
    "hold_back": "stop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "BeamConfig",
    "BeamResult",
    "DecodingConfig",
    "Generation",
    "Generator",
    "LanguageModel",
    "Progress",
    "beam_search",
    "beam_settings_lists",
    "beam_settings_specs",
    "beam_settings_tensors",
    "contrastive_search",
    "contrastive_specs",
    "cut_at_stop",
    "generate",
    "hold_back",
    "open_specs",
    "resume",
    "search_beams",
    "settings_lists",
    "settings_specs",
    "settings_tensors",
    "speculate",
    "speculative_generate",
]
