"""transformers' `generate` with the checkpoint's chat template.

python transformers_side.py CHECKPOINT PRECISION TASK
"""

import json
import os
import sys
import time

import torch
import transformers
from ask import ask, peak_bytes_of


def main(checkpoint: str, precision: str, task_text: str) -> None:
    """Loads a folder, or a GGUF file, and asks."""
    task, begin = json.loads(task_text), time.perf_counter()
    torch.set_num_threads(task["threads"])
    folder, file = os.path.split(checkpoint)
    is_file = os.path.isfile(checkpoint)
    source = {"pretrained_model_name_or_path": folder if is_file else checkpoint}
    if is_file:
        source["gguf_file"] = file
    tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        **source, dtype=getattr(torch, precision)
    ).eval()

    def answer(question: str, max_new_tokens: int) -> tuple[str, int]:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            found = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
        new = found[0, inputs["input_ids"].shape[1] :]
        return tokenizer.decode(new, skip_special_tokens=True), len(new)

    ask(answer, task, begin, peak_bytes_of)


if __name__ == "__main__":
    main(*sys.argv[1:])
