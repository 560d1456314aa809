"""The sides of transformers and of CTranslate2 in `generation.py`: a GPT-2 of random weights, greedy.

    python torch_side.py convert ctranslate2_float32|ctranslate2_int8 SETTING FOLDER
    python torch_side.py measure transformers_float32|transformers_bfloat16|ctranslate2_... SETTING FOLDER

What CTranslate2 reads is written by a process of its own, so that PyTorch is not in its memory. Runs in an
environment with torch, transformers and ctranslate2; needs no network and no checkpoint.
"""

import os
import sys
from typing import Any

from side import Setting, Write, measure


def gpt2(setting: Setting) -> Any:
    """transformers' model."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=setting.vocab_size,
        n_positions=setting.max_length,
        n_embd=setting.hidden_dim,
        n_layer=setting.num_layers,
        n_head=setting.num_heads,
        bos_token_id=1,
        eos_token_id=2,
    )
    return transformers.GPT2LMHeadModel(config).eval()


def transformers_writer(setting: Setting, dtype: str) -> Any:
    """`model.generate` under `torch.inference_mode`."""
    import torch

    torch.set_num_threads(setting.num_threads)
    model = gpt2(setting).to(getattr(torch, dtype))

    def writer_for(batch_size: int) -> Write:
        prompts = torch.tensor(setting.prompts(batch_size))

        def write(num_tokens: int) -> None:
            with torch.inference_mode():
                found = model.generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    do_sample=False,
                    min_new_tokens=num_tokens,
                    max_new_tokens=num_tokens,
                    pad_token_id=0,
                )
            _check(len(found[0]) - setting.prompt_length, num_tokens)

        return write

    return writer_for


def convert(setting: Setting, precision: str, folder: str) -> None:
    """Writes the model into `folder` as CTranslate2 reads it, with made-up words."""
    from ctranslate2.converters.transformers import GPT2Loader

    spec = GPT2Loader().get_model_spec(gpt2(setting))
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = _words(setting)[1:4]
    spec.register_vocabulary(_words(setting))
    spec.validate()
    spec.optimize(quantization=None if precision == "float32" else precision)
    os.makedirs(folder)
    spec.save(folder)


def ctranslate2_writer(setting: Setting, precision: str, folder: str) -> Any:
    """`Generator.generate_batch`; the prompt is read at once."""
    import ctranslate2

    generator = ctranslate2.Generator(
        folder, device="cpu", compute_type=precision, intra_threads=setting.num_threads
    )
    words = _words(setting)

    def writer_for(batch_size: int) -> Write:
        prompts = [[words[id] for id in row] for row in setting.prompts(batch_size)]

        def write(num_tokens: int) -> None:
            results = generator.generate_batch(
                prompts,
                beam_size=1,
                sampling_topk=1,
                min_length=num_tokens,
                max_length=num_tokens,
                include_prompt_in_result=False,
            )
            _check(len(results[0].sequences_ids[0]), num_tokens)

        return write

    return writer_for


def _words(setting: Setting) -> list[str]:
    return [f"<{number}>" for number in range(setting.vocab_size)]


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise SystemExit(f"{found} tokens were written, expected {expected}.")


def main(verb: str, kind: str, setting_text: str, folder: str) -> None:
    """Measures one library in one precision, or writes what CTranslate2 reads."""
    setting = Setting.from_json(setting_text)
    library, precision = kind.split("_")
    if verb == "convert":
        convert(setting, precision, folder)
    elif library == "transformers":
        measure(setting, transformers_writer(setting, precision))
    else:
        measure(setting, ctranslate2_writer(setting, precision, folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
