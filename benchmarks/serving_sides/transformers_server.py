"""A GPT-2 of random weights with a tokenizer of bytes, as `transformers serve` reads it.

    python transformers_server.py SIZE FOLDER

SIZE is JSON, the fields of `models.Size`. Runs in an environment with torch and `transformers[serving]`; needs no
network. It never ends a text early, so that as many tokens are written as are asked for.
"""

import json
import sys
from typing import Any


def write(size: dict[str, Any], folder: str) -> None:
    """Writes weights, config and tokenizer."""
    import tokenizers
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=size["vocab_size"],
        n_positions=size["max_length"],
        n_embd=size["hidden_dim"],
        n_layer=size["num_layers"],
        n_head=size["num_heads"],
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number + 4 for number, letter in enumerate(letters)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({"<pad>": 0, **vocabulary}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    fast.save_pretrained(folder)


if __name__ == "__main__":
    write(json.loads(sys.argv[1]), sys.argv[2])
