"""Text generation: one loop inside the graph, for every model with `initial_state`, `step` and `extend_state`.

    config.py        settings: defaults and ranges, without TensorFlow
    settings.py      settings as tensors, one value per row
    generator.py     Generator: begin, advance, generate; resume
    loop.py          the loop of every method: segments of fixed shapes with cache growth in between
    state.py         GenerationState, what the loop continues from; rows.py is its per-row part
    sampling.py      choice of one token: process and filter the logits, then take the largest or sample
    logit_filters.py temperature, top-k, top-p, min-p, typical-p
    penalties.py     repetition, frequency and presence penalty, no repeated n-grams
    constraints.py   banned tokens, minimum length, given choices, forced tokens
    logit_pipeline.py the registry that the last three use
    stop.py          stop strings
    window.py        left padding of prompts, sliding window
    beam_search.py   beam search; beam_step.py is one step of it
    contrastive.py   contrastive search
    speculative.py   speculative sampling with a draft model

docs/generation.md is the page for users. The configs and `settings_lists` do not need TensorFlow; everything else is
imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tflm.generation.config import BeamConfig, DecodingConfig, beam_settings_lists, settings_lists

if TYPE_CHECKING:
    from tflm.generation.beam_search import BeamResult, search_beams
    from tflm.generation.contrastive import contrastive_search, contrastive_specs
    from tflm.generation.generator import Generation, Generator, generate, resume
    from tflm.generation.settings import (
        beam_settings_specs,
        beam_settings_tensors,
        settings_specs,
        settings_tensors,
    )
    from tflm.generation.speculative import speculate, speculative_generate
    from tflm.generation.state import GenerationState, GenerativeModel, open_specs
    from tflm.generation.stop import cut_at_stop, hold_back

_MODULES = {
    "BeamResult": "beam_search",
    "search_beams": "beam_search",
    "contrastive_search": "contrastive",
    "contrastive_specs": "contrastive",
    "speculate": "speculative",
    "speculative_generate": "speculative",
    "Generation": "generator",
    "Generator": "generator",
    "generate": "generator",
    "resume": "generator",
    "GenerationState": "state",
    "GenerativeModel": "state",
    "open_specs": "state",
    "beam_settings_specs": "settings",
    "beam_settings_tensors": "settings",
    "settings_specs": "settings",
    "settings_tensors": "settings",
    "cut_at_stop": "stop",
    "hold_back": "stop",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = [
    "BeamConfig",
    "BeamResult",
    "DecodingConfig",
    "Generation",
    "GenerationState",
    "GenerativeModel",
    "Generator",
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
