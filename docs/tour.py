"""A tour of the Python API, in cells for an editor that runs `# %%` cells one by one, or from top to bottom:

tflm train --preset=tiny_chat --workdir=runs/tiny_chat
tflm export --workdir=runs/tiny_chat --output=saved_models/tiny_chat
python docs/tour.py
"""

# %% [markdown]
# Open a model: an export in a folder, or `http(s)://` or `grpc(s)://` and a server's model. Importing tflm is instant.

# %%
import tflm
from tflm.errors import UserError

model = tflm.load("saved_models/tiny_chat")
print(model.path, *model.methods, sep="\n  ")

# %% [markdown]
# Generate. A str gives a str, a list gives a list. Settings that are not given are the model's own.

# %%
print(model.generate("What is AI?", max_new_tokens=16))
print(model.generate(["Who are you?", "你是谁"], temperature=0, max_new_tokens=16))

# %% [markdown]
# Details of a text, and several samples of one prompt. The same seed gives the same text.

# %%
found = model.generate("你好", temperature=1, seed=3, max_new_tokens=16, return_details=True)
print(found)
samples = model.samples("你好", 3, temperature=1, seed=1, max_new_tokens=16)
assert samples[2].text == found.text
for sample in samples:
    print(f"{sample.log_probability:.2f}", sample.text)

# %% [markdown]
# Stream a text in pieces of whole characters; joined they are what `generate` gives.

# %%
for piece in model.stream("What is AI?", max_new_tokens=16):
    print(piece, end="", flush=True)
print()

# %% [markdown]
# Chat: messages in, the answer out; or a conversation that remembers its messages.

# %%
print(model.chat([{"role": "user", "content": "你好"}], max_new_tokens=16))
talk = model.conversation(max_new_tokens=16)
talk.ask("What is AI?")
talk.ask("你是谁")
for message in talk.messages:
    print(message["role"], message["content"], sep=": ")

# %% [markdown]
# The log-probability of an answer: which of two the model expects.

# %%
for score in model.score(["What is AI?"] * 2, ["Artificial intelligence.", "香蕉"]):
    print(f"{score.log_probability:.2f} over {score.num_tokens} tokens, perplexity {score.perplexity:.1f}")

# %% [markdown]
# Errors say what was found, what was expected and what to do.

# %%
try:
    model.generate("你好", temprature=0.5)
except UserError as error:
    print(error)

# %% [markdown]
# Connections and memory are given back by `close`, or at the end of a `with` block.

# %%
model.close()
