"""Perturbations of a text, each a function that is registered by name.

    @perturbation("shouting", INVARIANCE)
    def shouting(text, draw, options):
        \"\"\"An exclamation mark at the end.\"\"\"
        return text + "!"

What is drawn for a text is a function of the seed, the perturbation and the text alone: it does not depend on the other
texts, on their order or on the other perturbations.
"""

import dataclasses
import hashlib
import random
from collections.abc import Callable
from typing import Any

from tflm.data.augmentation import Synonyms
from tflm.errors import UserError
from tflm.registry import Registry

INVARIANCE, DIRECTION, INPUT = "invariance", "direction", "input"
"""What is expected: that the prediction stays; that the probability of the predicted label does not rise; that there is
a valid prediction at all."""
KINDS = (INVARIANCE, DIRECTION, INPUT)


@dataclasses.dataclass(frozen=True)
class PerturbationOptions:
    """What all perturbations are given."""

    rate: float = 0.1
    """Share of the words of a text that typing noise, homophones and synonyms change; one word at least."""
    synonyms: Synonyms | None = None
    """Of the user; see `Synonyms`."""

    def __post_init__(self) -> None:
        if not 0.0 < self.rate <= 1.0:
            raise UserError(f"rate is above 0 and at most 1; got {self.rate}.")

    def count(self, num_words: int) -> int:
        """How many of the words to change.

        >>> PerturbationOptions(rate=0.1).count(25)
        3
        """
        return min(num_words, max(1, int(self.rate * num_words + 0.5)))


PerturbFn = Callable[[str, random.Random, PerturbationOptions], Any]
"""From a text to the changed one; of the kind `input` to a list of texts, whatever the text is."""
PERTURBATIONS: Registry[PerturbFn] = Registry("perturbation", "perturbation", "tflm.robustness")


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """A change of a text, and what is expected of the prediction."""

    name: str
    function: PerturbFn
    kind: str
    """One of KINDS."""
    needs: str = ""
    """The library that it needs, of the extra `check`; "" for none."""
    appends: bool = False
    """Whether it adds to the text: of a question with a context it changes the context, else the question."""

    @property
    def summary(self) -> str:
        """The first paragraph of the function's docstring, in one line."""
        return " ".join((self.function.__doc__ or "").strip().partition("\n\n")[0].split())

    def perturbed(self, text: str, options: PerturbationOptions, seed: int = 0) -> str:
        """The changed text; the same text where there is nothing to change.

        >>> find_perturbation("upper_case").perturbed("a fine film", PerturbationOptions())
        'A FINE FILM'

        Raises:
            UserError: the library that it needs is not installed.
        """
        key = f"{seed} {self.name} {text}".encode("utf-8", "surrogatepass")
        draw = random.Random(int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big"))
        return self.function(text, draw, options)

    def inputs(self, options: PerturbationOptions) -> list[str]:
        """The texts of a perturbation of the kind `input`."""
        return self.function("", random.Random(0), options)


def perturbation(
    name: str, kind: str, needs: str = "", appends: bool = False
) -> Callable[[PerturbFn], PerturbFn]:
    """A decorator that registers a function as a perturbation; see `Perturbation`.

    Raises:
        ValueError: an unknown kind, or another perturbation of the name.
    """
    if kind not in KINDS:
        raise ValueError(f"the kind of a perturbation is one of {', '.join(KINDS)}; got {kind!r}.")

    def add(function: Any) -> PerturbFn:
        function.about = {"kind": kind, "needs": needs, "appends": appends}
        return PERTURBATIONS.add(name, function)

    return add


def find_perturbation(name: str) -> Perturbation:
    """The perturbation of a name.

    Raises:
        UserError: no perturbation has this name.
    """
    function: Any = PERTURBATIONS.get(name)
    return Perturbation(name, function, **function.about)


def all_perturbations() -> list[Perturbation]:
    """Every perturbation: first those with an invariant prediction."""
    found = [find_perturbation(name) for name in PERTURBATIONS.declarations()]
    return sorted(found, key=lambda each: KINDS.index(each.kind))
