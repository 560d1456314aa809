"""What the methods of a model handle return, as frozen dataclasses."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Generated:
    """A generated text, with `return_details=True`.

    A field is None where the export does not report it, or where it does not apply.
    """

    text: str
    num_tokens: int
    """Generated tokens, without the end token."""
    log_probability: float | None
    """Natural logarithm of the text's probability. None where beam search found no text that is allowed."""
    finish_reason: str = ""
    """"stop" after an end token or a stop text, "length" at a limit; "" where it is not reported."""
    truncated: bool | None = None
    """Whether part of the input was not read."""
    score: float | None = None
    """Of beam search: the length-normalized log-probability."""
    beams: tuple["Generated", ...] = ()
    """Of beam search: the texts that were found, best first; the first is this text."""
    num_left_out: int | None = None
    """Of a conversation: how many of its oldest messages did not fit."""


@dataclasses.dataclass(frozen=True)
class Classification:
    """The label of a text."""

    label: str
    """Of a model with several labels for a text: those that reach its threshold, joined by its separator."""
    score: float | None
    """The probability of `label`; None where `label` is several labels or none of them."""
    scores: dict[str, float]
    """Label to probability, in the order of the model."""
    truncated: bool | None = None
    """Whether part of the text was not read; None where the export does not report it."""


@dataclasses.dataclass(frozen=True)
class Span:
    """A labelled part of a text: `text[start:end]`."""

    start: int
    """In characters, from 0."""
    end: int
    """The character after the last one."""
    label: str
    score: float
    """The mean probability of the tags of its tokens."""
    text: str


@dataclasses.dataclass(frozen=True)
class AnswerCandidate:
    """A possible answer: `context[start:end]`, or "" with start and end -1 for no answer."""

    text: str
    start: int
    end: int
    score: float
    """Its probability."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to a question, found in its context: `context[start:end]`."""

    text: str
    """"" for no answer."""
    start: int
    """In characters, from 0; -1 for no answer."""
    end: int
    """The character after the last one; -1 for no answer."""
    score: float
    """Its probability, or that of no answer."""
    margin: float
    """Log odds of the best span against no answer; `threshold` is compared with it."""
    candidates: tuple[AnswerCandidate, ...]
    """This answer, then the likeliest others, no answer among them."""
    truncated: bool | None = None
    """Whether part of the question was not read; the context is read whole."""


@dataclasses.dataclass(frozen=True)
class Score:
    """The log-probability that a model gives a text."""

    log_probability: float
    """Natural logarithm, summed over the tokens."""
    num_tokens: int
    """The tokens that were scored."""
    token_ids: tuple[int, ...] = ()
    """All tokens after the first, given ones too; empty where the export does not report them."""
    token_log_probabilities: tuple[float, ...] = ()
    """Of each of `token_ids`; 0 for given tokens."""
    truncated: bool | None = None

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability of a token; NaN of no tokens."""
        return math.exp(-self.log_probability / self.num_tokens) if self.num_tokens else math.nan


@dataclasses.dataclass(frozen=True)
class Filled:
    """A text whose blanks were filled."""

    text: str
    log_probability: float
    truncated: bool | None = None


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """A word that is near to a text."""

    word: str
    score: float
    """Cosine similarity."""


@dataclasses.dataclass(frozen=True)
class SummaryPart:
    """A part of a long text and its summary."""

    round: int
    """1 for parts of the text itself, 2 for parts of their summaries, and so on."""
    text: str
    summary: str


@dataclasses.dataclass(frozen=True)
class Summary(Generated):
    """A summary; of a text longer than the model reads, with the parts that it was made of."""

    parts: tuple[SummaryPart, ...] = ()
    """Empty where the model read the text whole."""


@dataclasses.dataclass(frozen=True)
class TokenAlternatives:
    """A generated token and the likeliest tokens in its place."""

    token: str
    """"" is the end token; a part of a character is U+FFFD."""
    probability: float
    """By the model alone: no setting of generation enters it."""
    alternatives: tuple[tuple[str, float], ...]
    """Text and probability of the likeliest tokens, best first."""


@dataclasses.dataclass(frozen=True)
class Alternatives:
    """A generated text, token by token."""

    tokens: tuple[TokenAlternatives, ...]
    truncated: bool | None = None


@dataclasses.dataclass(frozen=True)
class ExplainedToken:
    """A token and its part in a prediction. Tokens that share a character are one."""

    text: str
    start: int
    """In characters of its text, from 0; -1 where no character is its own."""
    end: int
    """The character after the last one."""
    part: int
    """The text that it is of: 0 for the first of `Explanation.texts`, 1 for the second."""
    attribution: float
    """In log odds of the target; above 0 it made the target more likely."""


@dataclasses.dataclass(frozen=True)
class ExplainedTarget:
    """What is explained: a label, a tagged span, an answer, a generated token."""

    text: str
    """The label, the answer or the token."""
    start: int
    """Of a span, an answer or a token: its first character, in the last of `Explanation.texts`; -1 of a label."""
    end: int
    log_odds: float
    """ln p / (1 - p) of its probability p. Of a span the mean over its tokens' tags, of an answer the sum over its
    start and its end."""
    baseline_log_odds: float
    """The same where the embeddings of all tokens are zero."""
    tokens: tuple[ExplainedToken, ...]

    @property
    def probability(self) -> float:
        """Of a label or a token its probability; else that of its mean or summed log odds."""
        return 1.0 / (1.0 + math.exp(-max(-700.0, min(self.log_odds, 700.0))))

    @property
    def remainder(self) -> float:
        """`log_odds - baseline_log_odds` less the sum of the attributions; of integrated gradients the error of the
        steps."""
        return self.log_odds - self.baseline_log_odds - sum(token.attribution for token in self.tokens)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Which tokens made a prediction likely."""

    texts: tuple[str, ...]
    """The given text or texts, and of a generative model the continuation."""
    method: str
    targets: tuple[ExplainedTarget, ...]
    """One for a label or an answer; one for each span and each generated token."""
    scores: dict[str, float]
    """Of a classifier: label to probability."""
    truncated: bool | None = None
    """Whether part of the text was not read."""


@dataclasses.dataclass(frozen=True)
class AttentionToken:
    """A row or a column of attention weights."""

    text: str
    """Of a special token its name, such as "<start>"."""
    start: int
    """-1 of a special token."""
    end: int
    part: int
    """-1 of a special token."""


@dataclasses.dataclass(frozen=True, eq=False)
class AttentionWeights:
    """The attention weights of a Transformer for a text."""

    texts: tuple[str, ...]
    tokens: tuple[AttentionToken, ...]
    """What is attended to, T."""
    queries: tuple[AttentionToken, ...]
    """What attends, K: the same tokens, or with an encoder the generated ones."""
    weights: np.ndarray
    """float32 [L, H, K, T] by layer and head; each row sums to 1."""
    rollout: np.ndarray | None
    """float32 [T, T]: attention rollout (Abnar and Zuidema, 2020); None with an encoder and a decoder."""
    truncated: bool | None = None
