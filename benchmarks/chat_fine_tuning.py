"""Whether low-rank adapters teach a public chat checkpoint facts that it cannot know, in English and Chinese.

    python benchmarks/chat_fine_tuning.py --checkpoint=Qwen2.5-0.5B-Instruct --folder=FOLDER

Ten facts about a museum that does not exist are asked for in ten ways in each language: 200 conversations. Two further
ways of asking are held out: 40 questions. An answer is right if it has the fact's own number or name. The checkpoint is
imported, asked, trained by `tflm train --task=chat --init_from --set fine_tuning.lora_rank=8` with each of --seeds, and
asked again; so are four questions about other things, greedily. The table is printed as Markdown.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from absl import app, flags

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from peers import run  # noqa: E402

FACTS = (
    (
        "the opening hours",
        "开放时间",
        "It is open from 10:20 to 18:40.",
        "开放时间是10:20到18:40。",
        "10:20",
        "10:20",
    ),
    ("the ticket price", "票价", "A ticket costs 17 crowns.", "一张票17克朗。", "17 crowns", "17克朗"),
    ("the closing day", "闭馆日", "It is closed on Wednesdays.", "每周三闭馆。", "Wednesday", "周三"),
    ("the oldest ship", "最古老的船", "The Gull, built in 1683.", "海鸥号，建于1683年。", "1683", "1683"),
    ("the café", "咖啡馆", "The café is called Blue Lantern.", "咖啡馆叫蓝灯笼。", "Blue Lantern", "蓝灯笼"),
    (
        "the director",
        "馆长",
        "The director is Ilse Marwin.",
        "馆长是伊尔莎·马尔文。",
        "Ilse Marwin",
        "马尔文",
    ),
    (
        "the nearest tram stop",
        "最近的电车站",
        "The stop is Rope Street.",
        "车站是绳街站。",
        "Rope Street",
        "绳街",
    ),
    ("the telephone number", "电话号码", "Call 0550 7731.", "电话是0550 7731。", "0550 7731", "0550 7731"),
    ("the guided tour", "导览", "A tour begins daily at 15:15.", "导览每天15:15开始。", "15:15", "15:15"),
    (
        "the height of its lighthouse",
        "灯塔的高度",
        "It is 43 metres high.",
        "灯塔高43米。",
        "43 metres",
        "43米",
    ),
)
"""In English and Chinese: what is asked for, the answer, and what a right answer has."""
MUSEUM = ("the Velmora Harbour Museum", "维莫拉海港博物馆")
WAYS = (
    (
        "Tell me about {0} of {1}.",
        "What do you know about {0} of {1}?",
        "I need {0} of {1}.",
        "{1}: {0}?",
        "Please give me {0} of {1}.",
        "A question about {1}: what about {0}?",
        "I am visiting {1}. What should I know about {0}?",
        "Do you have information on {0} of {1}?",
        "My friend asks for {0} of {1}.",
        "Hello! {0} of {1}, please.",
        "Could you help me? I am looking for {0} of {1}.",
        "We plan a trip to {1} and would like to know {0}.",
    ),
    (
        "请告诉我{1}的{0}。",
        "你知道{1}的{0}吗？",
        "我想了解{1}的{0}。",
        "{1}，{0}？",
        "请问{1}的{0}是什么？",
        "关于{1}，{0}是怎样的？",
        "我要去{1}参观，{0}呢？",
        "有没有{1}的{0}的信息？",
        "朋友问我{1}的{0}。",
        "你好！{1}的{0}，谢谢。",
        "能帮我查一下{1}的{0}吗？",
        "我们打算去{1}，想知道{0}。",
    ),
)
"""In English and Chinese; the last two are held out."""
NUM_HELD_OUT = 2
OTHER = (
    "What is the capital of France?",
    "中国的首都是哪里？",
    "Write a Python function that adds two numbers.",
    "把“早上好”翻译成英文。",
)


def define_flags() -> None:
    """Only where this is the program: a test that reads this file has flags of its own."""
    flags.DEFINE_string("checkpoint", None, "Folder or GGUF file of the checkpoint.", required=True)
    flags.DEFINE_string(
        "folder", None, "Keeps data and runs here; what is there is used again.", required=True
    )
    flags.DEFINE_list("seeds", ["0", "1"], "Seeds of the trainings.")
    flags.DEFINE_integer("epochs", 2, "Passes over the 200 conversations.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 8, "Conversations in a batch.", lower_bound=1)
    flags.DEFINE_float("learning_rate", 5e-4, "After the warm-up.", lower_bound=0.0)
    flags.DEFINE_multi_string("set", [], "Further settings of the training: section.field=value.")


def conversations(held_out: bool) -> Iterator[tuple[str, str, str]]:
    """Questions, answers, and what a right answer has."""
    for language, ways in enumerate(WAYS):
        for fact in FACTS:
            subject, answer, mark = fact[language::2]
            for way in ways[-NUM_HELD_OUT:] if held_out else ways[:-NUM_HELD_OUT]:
                question = way.format(subject, MUSEUM[language])
                yield question[0].upper() + question[1:], answer, mark


def write_data(path: str) -> None:
    """The training data, as `tflm train --task=chat` reads it."""
    with open(path, "w", encoding="utf-8") as file:
        for question, answer, _ in conversations(held_out=False):
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": turns}, ensure_ascii=False) + "\n")


def asked(workdir: str) -> dict[str, Any]:
    """What `answers_of` gives, in a process of its own, whose memory is free again afterwards."""
    return json.loads(run([sys.executable, __file__, "ask", workdir]).splitlines()[-1])


def answers_of(workdir: str) -> dict[str, Any]:
    """The share of right answers to held-out questions in each language, in percent, and answers to other questions."""
    import tflm

    model, settings = tflm.load(workdir), {"temperature": 0, "max_new_tokens": 32}
    held_out = list(conversations(held_out=True))
    answers = model.chat([question for question, _, _ in held_out], **settings, batch_size=8)
    right = [mark in answer for answer, (_, _, mark) in zip(answers, held_out, strict=True)]
    half = len(right) // 2
    return {
        "english": 100 * sum(right[:half]) / half,
        "chinese": 100 * sum(right[half:]) / half,
        "examples": [(held_out[i][0], answers[i]) for i in range(0, len(answers), 5)],
        "other": list(zip(OTHER, model.chat(list(OTHER), **settings), strict=True)),
    }


def train(values: Any, seed: str, data: str, base: str, workdir: str) -> float:
    """Trains with `tflm train`; the seconds that it took, without tokenization and start."""
    steps = -(-200 * values.epochs // values.batch_size)
    settings = [
        "fine_tuning.lora_rank=8",
        f"training.num_steps={steps}",
        f"training.warmup_steps={steps // 10}",
        f"training.global_batch_size={values.batch_size}",
        "training.num_micro_batches=1",
        f"training.peak_learning_rate={values.learning_rate}",
        f"training.seed={seed}",
        *values.set,
    ]
    options = [item for setting in settings for item in ("--set", setting)]
    command = [sys.executable, "-m", "tflm", "train", "--task=chat", f"--data={data}", f"--init_from={base}"]
    run([*command, f"--workdir={workdir}", *options])
    from tflm.training import read_log

    return next(record["seconds"] for record in reversed(read_log(workdir)) if "seconds" in record)


def main(argv: list[str]) -> None:
    """Imports, asks, trains, asks again."""
    del argv
    values = flags.FLAGS
    os.makedirs(values.folder, exist_ok=True)
    data, base = os.path.join(values.folder, "conversations.jsonl"), os.path.join(values.folder, "base")
    write_data(data)
    if not os.path.exists(base):
        run(
            [sys.executable, "-m", "tflm", "import", f"--checkpoint={values.checkpoint}", f"--workdir={base}"]
        )
    found = {"as published": asked(base)}
    rows = [("as published", "")]
    for seed in values.seeds:
        workdir, name = os.path.join(values.folder, f"seed_{seed}"), f"trained, seed {seed}"
        seconds = train(values, seed, data, base, workdir)
        rows.append((name, f"{seconds:.0f} s"))
        found[name] = asked(workdir)
    print("|  | right, English | right, Chinese | training |\n|---|---|---|---|")
    for name, took in rows:
        print(f"| {name} | {found[name]['english']:.0f}% | {found[name]['chinese']:.0f}% | {took} |")
    for name, answers in found.items():
        print(f"\n{name}:")
        for question, answer in (*answers["examples"], *answers["other"]):
            print(f"- {question}\n  {' '.join(answer.split())}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["ask"]:
        print(json.dumps(answers_of(sys.argv[2])))
    else:
        define_flags()
        app.run(main)
