"""PyTorch's side of `training.py`: transformers' GPT2LMHeadModel, or `torch.nn.LSTM`.

python torch_side.py plain|compiled SETTING
"""

import contextlib
import sys

from training_side import Setting, take_turns


def main(kind: str, setting_text: str) -> None:
    """Builds the model and measures it."""
    import torch

    setting = Setting.from_json(setting_text)
    torch.set_num_threads(setting.num_threads)
    torch.manual_seed(0)
    if setting.model == "gpt":
        import transformers

        config = transformers.GPT2Config(
            vocab_size=setting.vocab_size,
            n_positions=setting.length,
            n_embd=setting.hidden_dim,
            n_layer=setting.num_layers,
            n_head=setting.num_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
        )
        model = transformers.GPT2LMHeadModel(config)

        def logits_of(ids):
            return model(input_ids=ids).logits
    else:
        model = torch.nn.ModuleDict(
            {
                "embedding": torch.nn.Embedding(setting.vocab_size, setting.hidden_dim),
                "lstm": torch.nn.LSTM(
                    setting.hidden_dim, setting.hidden_dim, setting.num_layers, batch_first=True
                ),
                "output": torch.nn.Linear(setting.hidden_dim, setting.vocab_size, bias=False),
            }
        )
        torch.nn.init.normal_(model["embedding"].weight, std=0.02)
        model["output"].weight = model["embedding"].weight

        def logits_of(ids):
            return model["output"](model["lstm"](model["embedding"](ids))[0])

    model.train()

    def loss_of(ids, targets):
        logits = logits_of(ids)
        return torch.nn.functional.cross_entropy(
            logits.float().reshape(-1, setting.vocab_size), targets.reshape(-1)
        )

    loss_fn = torch.compile(loss_of) if kind == "compiled" else loss_of
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.004)
    rows, place = torch.from_numpy(setting.batches()).long(), [0]
    is_mixed = setting.precision != "float32"

    def train(count: int) -> list[float]:
        losses = []
        for _ in range(count):
            batch = rows[place[0] % len(rows)]
            place[0] += 1
            context = (
                torch.autocast("cpu", dtype=getattr(torch, setting.precision))
                if is_mixed
                else contextlib.nullcontext()
            )
            with context:
                loss = loss_fn(batch[:, :-1], batch[:, 1:])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        return losses

    take_turns(setting, train, sum(parameter.numel() for parameter in model.parameters()))


if __name__ == "__main__":
    main(*sys.argv[1:])
