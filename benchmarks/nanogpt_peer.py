"""The peer of `shakespeare_char.py`: nanoGPT's CPU recipe, written again in PyTorch from its published settings.

    python benchmarks/nanogpt_peer.py input.txt 2000

Settings are those of nanoGPT's README for a CPU (github.com/karpathy/nanoGPT, `train_shakespeare_char.py` with
`--device=cpu --compile=False --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128
--max_iters=2000 --lr_decay_iters=2000 --dropout=0.0`). Runs in an environment with PyTorch and NumPy alone and
prints one line of JSON: parameters, seconds of training (no evaluation in them), validation loss over the whole
last tenth in consecutive blocks.
"""

import json
import math
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.attention_out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.mlp_in = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.mlp_out = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float [B, T, WIDTH] to the same."""
        batch, length, _ = x.shape
        heads = self.qkv(self.norm_1(x)).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.attention_out(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.mlp_out(functional.gelu(self.mlp_in(self.norm_2(x))))


class GPT(nn.Module):
    """Learned positions, pre-norm blocks, output tied to the embedding."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab_size, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                scale = 1 / math.sqrt(2 * LAYERS) if name.endswith("_out.weight") else 1.0
                nn.init.normal_(weight, std=0.02 * scale)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy of y [B, T] after x [B, T]."""
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        logits = self.norm(h) @ self.tokens.weight.T
        return functional.cross_entropy(logits.flatten(0, 1), y.flatten())


def learning_rate(step: int, num_steps: int) -> float:
    """Warm-up over 100 steps to 1e-3, cosine to 1e-4."""
    if step < 100:
        return 1e-3 * (step + 1) / 101
    return 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - 100) / (num_steps - 100))) * 9e-4


def main(path: str, num_steps: int) -> None:
    """Trains, evaluates and prints one line of JSON."""
    torch.manual_seed(1337)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    index = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = np.array([index[character] for character in text])
    train, held_out = ids[: int(len(ids) * 0.9)], ids[int(len(ids) * 0.9) :]
    model = GPT(len(index))
    decayed = [p for p in model.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    begin = time.perf_counter()
    for step in range(num_steps):
        starts = torch.randint(len(train) - CONTEXT, (BATCH,)).tolist()
        x = torch.tensor(np.stack([train[s : s + CONTEXT] for s in starts]))
        y = torch.tensor(np.stack([train[s + 1 : s + 1 + CONTEXT] for s in starts]))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, num_steps)
        model(x, y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - begin
    count = (len(held_out) - 1) // CONTEXT
    x = torch.tensor(held_out[: count * CONTEXT].reshape(count, CONTEXT))
    y = torch.tensor(held_out[1 : count * CONTEXT + 1].reshape(count, CONTEXT))
    with torch.no_grad():
        loss = sum(float(model(x[i : i + 1], y[i : i + 1])) for i in range(count)) / count
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"parameters": parameters, "seconds": seconds, "validation_loss": loss}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
