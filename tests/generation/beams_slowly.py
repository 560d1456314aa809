"""Beam search for one prompt in plain Python, to compare the graph with; and all texts of a small vocabulary."""

import collections
import itertools

import numpy as np


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def score_of(total, length, penalty, offset):
    return total / ((offset + length) / (offset + 1)) ** penalty


def beams_slowly(logits_fn, prompt, end_id, limit, settings, change_fn=lambda scores, text: scores):
    """[(score, log-probability, tokens), ...], best first.

    With one group it never stops before the limit, so what the graph's bound leaves out would be found. A group of
    one beam is greedy.

    Args:
        logits_fn: from a text, a list of tokens, to the logits of the next one.
        settings: beam_size, num_groups, diversity_penalty, length_penalty, length_offset.
        change_fn: from log-probabilities and the tokens produced to the scores of the next token.
    """
    count, size = settings["num_groups"], settings["beam_size"] // settings["num_groups"]
    penalty, offset = settings["length_penalty"], settings["length_offset"]
    running, finished = [[(0.0, 0.0, [])] for _ in range(count)], [[] for _ in range(count)]
    for length in range(1, limit + 1):
        used = collections.Counter()
        for group in range(count):
            found = []
            for total, log_probability, text in running[group]:
                own = log_softmax(logits_fn(list(prompt) + text))
                scores = change_fn(own.copy(), text)
                for token in np.flatnonzero(np.isfinite(scores)):
                    score = total + scores[token] - settings["diversity_penalty"] * used[int(token)]
                    found.append((score, log_probability + own[token], [*text, int(token)]))
            found.sort(key=lambda each: -each[0])
            running[group], chosen = [], []
            for rank, (total, log_probability, text) in enumerate(found[: 2 * size]):
                if text[-1] == end_id or length == limit:
                    if rank < size:
                        score = score_of(total, length, penalty, offset)
                        finished[group].append((score, log_probability, [t for t in text if t != end_id]))
                        chosen.append(text[-1])
                elif len(running[group]) < size:
                    running[group].append((total, log_probability, text))
            finished[group] = sorted(finished[group], key=lambda each: -each[0])[:size]
            is_full = len(finished[group]) == size
            if is_full and running[group] and (size == 1 or count > 1):
                best = running[group][0][0]
                bound = score_of(best, limit if penalty > 0 else length + 1, penalty, offset)
                if size == 1 or bound <= finished[group][-1][0]:
                    running[group] = []
            used.update(chosen + [text[-1] for _, _, text in running[group]])
    return sorted(itertools.chain(*finished), key=lambda each: -each[0])


def all_texts(logits_fn, prompt, tokens, end_id, limit, penalty, offset):
    """Every text of these tokens that ends within the limit or is cut off there: as `beams_slowly`."""
    found = []
    for length in range(limit + 1):
        for text in itertools.product(tokens, repeat=length):
            whole = list(text) + ([end_id] if length < limit else [])
            log_probability = sum(
                log_softmax(logits_fn(list(prompt) + whole[:i]))[token] for i, token in enumerate(whole)
            )
            score = score_of(log_probability, len(whole), penalty, offset)
            found.append((score, log_probability, list(text)))
    return sorted(found, key=lambda each: -each[0])
