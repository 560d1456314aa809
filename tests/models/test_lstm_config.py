"""What the configs of the LSTM families refuse, and that they come back from JSON as they were."""

import dataclasses

import pytest

from tflm.config import from_dict, to_dict
from tflm.models import LSTMConfig, LSTMEncoderConfig, LSTMEncoderDecoderConfig, ModelConfig

KINDS = [LSTMConfig, LSTMEncoderConfig, LSTMEncoderDecoderConfig]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.mark.parametrize("field", ["num_layers", "hidden_dim", "max_length"])
def test_sizes(kind, field):
    with pytest.raises(ValueError, match=f"{field} is at least 1; got 0"):
        kind(**{field: 0})


def test_a_tied_output_needs_one_width(kind):
    message = (
        "tied_output needs embedding_dim equal to hidden_dim=256; got embedding_dim=300. Set tied_output to"
    )
    with pytest.raises(ValueError, match=message):
        kind(embedding_dim=300)
    kind(embedding_dim=300, tied_output=False)
    kind(embedding_dim=256)
    with pytest.raises(ValueError, match="embedding_dim is 0, for hidden_dim, or more; got -1"):
        kind(embedding_dim=-1)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_both_directions_have_one_width(kind):
    with pytest.raises(ValueError, match="hidden_dim is even, half for each direction; got 7"):
        kind(hidden_dim=7)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_counted_ngrams_are_for_decoders(kind):
    with pytest.raises(ValueError, match=f"of the kind {kind().kind} has no counted n-grams"):
        kind(ngram_contexts=(1, 2))
    assert LSTMConfig(ngram_contexts=(1, 2)).ngram_contexts == (1, 2)


def test_unknown_attention():
    with pytest.raises(ValueError, match="attention is one of luong, bahdanau; got 'general'"):
        LSTMEncoderDecoderConfig(attention="general")


def test_the_kind_tells_them_apart(kind):
    @dataclasses.dataclass(frozen=True)
    class Run:
        model: ModelConfig

    run = Run(kind(num_layers=3))
    assert type(from_dict(Run, to_dict(run)).model) is kind
    assert from_dict(Run, to_dict(run)) == run
