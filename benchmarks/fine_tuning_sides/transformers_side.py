"""transformers' side of `fine_tuning.py`: AutoModel, mean pooling, a linear layer, a plain PyTorch loop."""

import json
import os
import random
import resource
import sys
import time

import torch
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup


class Classifier(torch.nn.Module):
    """The mean over the real tokens, dropout, a linear layer."""

    def __init__(self, checkpoint: str, num_labels: int) -> None:
        super().__init__()
        self.body = AutoModel.from_pretrained(checkpoint)
        self.dropout = torch.nn.Dropout(0.1)
        self.head = torch.nn.Linear(self.body.config.hidden_size, num_labels)

    def forward(self, **inputs):
        """float [B, labels]."""
        mask = inputs["attention_mask"][:, :, None]
        states = self.body(**inputs).last_hidden_state
        return self.head(self.dropout((states * mask).sum(1) / mask.sum(1)))


def read(path: str) -> list[tuple[str, str]]:
    """Texts and labels of a file with a header."""
    with open(path, encoding="utf-8") as file:
        columns = file.readline().rstrip("\n").split("\t")
        rows = [line.rstrip("\n").split("\t") for line in file]
    return [(row[columns.index("text")], row[columns.index("label")]) for row in rows]


def main(setting_text: str, folder: str) -> None:
    """Trains, and prints one line of JSON."""
    del folder
    setting = json.loads(setting_text)
    torch.set_num_threads(setting["num_threads"])
    torch.manual_seed(setting["seed"])
    sides = {name: read(os.path.join(setting["data"], f"{name}.tsv")) for name in ("train", "dev", "test")}
    labels = sorted({label for _, label in sides["train"]})
    tokenizer = AutoTokenizer.from_pretrained(setting["checkpoint"])
    model = Classifier(setting["checkpoint"], len(labels))

    def inputs(rows):
        texts = [text for text, _ in rows]
        return tokenizer(texts, padding=True, truncation=True, return_tensors="pt")

    size, train = setting["batch_size"], sides["train"]
    num_steps = setting["epochs"] * -(-len(train) // size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=setting["learning_rate"], weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, num_steps // 16, num_steps)
    shuffle = random.Random(setting["seed"]).shuffle
    model.train()
    begin = time.perf_counter()
    for _ in range(setting["epochs"]):
        shuffle(train)
        for first in range(0, len(train), size):
            rows = train[first : first + size]
            targets = torch.tensor([labels.index(label) for _, label in rows])
            loss = torch.nn.functional.cross_entropy(model(**inputs(rows)), targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    found = {"seconds": time.perf_counter() - begin}
    model.eval()
    with torch.no_grad():
        for name in ("dev", "test"):
            rows, right = sides[name], 0
            for first in range(0, len(rows), 128):
                batch = rows[first : first + 128]
                best = model(**inputs(batch)).argmax(-1).tolist()
                right += sum(labels[index] == label for index, (_, label) in zip(best, batch, strict=True))
            found[name] = right / len(rows)
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
