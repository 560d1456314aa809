"""The tensorflow-text ops in stock servers, and the libraries that register them.

TensorFlow Serving links all of tensorflow-text (`model_servers/BUILD`, target `//tensorflow_text:ops_lib`), so a graph
may use any of these ops that its version of tensorflow-text has. In Python, ops are registered by loading the shared
libraries of the wheel; importing the package would also need Keras.
"""

import functools
import glob
import importlib.util
import os

import tensorflow as tf

from tflm.errors import UserError

TEXT_OPS = frozenset(
    {
        "CaseFoldUTF8",
        "ConstrainedSequence",
        "FastBertNormalize",
        "FastWordpieceTokenizeWithOffsets",
        "FindSourceOffsets",
        "MaxSpanningTree",
        "NormalizeUTF8",
        "NormalizeUTF8WithOffsetsMap",
        "PhraseTokenize",
        "RegexSplitWithOffsets",
        "RougeL",
        "SentenceFragments",
        "SentenceFragmentsV2",
        "SentencepieceDetokenizeOp",
        "SentencepieceIdToStringOp",
        "SentencepieceOp",
        "SentencepieceStringToIdOp",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
        "SentencepieceVocabSizeOp",
        "SplitMergeTokenizeWithOffsets",
        "TFText>BoiseTagsToOffsets",
        "TFText>ByteSplitByOffsets",
        "TFText>ByteSplitWithOffsets",
        "TFText>FastSentencepieceDetokenize",
        "TFText>FastSentencepieceTokenize",
        "TFText>FastWordpieceDetokenize",
        "TFText>NgramsStringJoin",
        "TFText>OffsetsToBoiseTags",
        "TFText>PhraseDetokenize",
        "TFText>RoundRobinGenerateMasks",
        "TFText>RoundRobinTrim",
        "TFText>Utf8Binarize",
        "TFText>WhitespaceTokenizeWithOffsetsV2",
        "TokenizerFromLogits",
        "UnicodeScriptTokenizeWithOffsets",
        "WhitespaceTokenizeWithOffsets",
        "WordpieceTokenizeWithOffsets",
    }
)

_NEWER_THAN_2_12 = (
    "linked by TensorFlow Serving 2.20 (tensorflow-text 2.20.0), but not by TensorFlow Serving 2.19 (tensorflow-text "
    "2.12.1)"
)
LACKING_TEXT_OPS = {
    "TFText>RoundRobinGenerateMasks": _NEWER_THAN_2_12,
    "TFText>RoundRobinTrim": _NEWER_THAN_2_12,
    "TFText>Utf8Binarize": _NEWER_THAN_2_12,
}
"""Ops that a stock server lacks, with the reason. The wheels of both versions were searched for all `TEXT_OPS`."""


def text_op_libraries() -> list[str]:
    """Paths of the shared libraries of the installed tensorflow-text, without importing the package.

    Raises:
        UserError: tensorflow-text is not installed.
    """
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None or spec.origin is None:
        raise UserError(
            "this model uses ops of tensorflow-text, which is not installed. Install the version that goes "
            f"with TensorFlow: pip install 'tensorflow-text=={tf.__version__.rsplit('.', 1)[0]}.*'"
        )
    folder = os.path.dirname(spec.origin)
    return sorted(glob.glob(os.path.join(folder, "python", "**", "_*.so"), recursive=True))


@functools.cache
def load_text_ops() -> None:
    """Registers the tensorflow-text ops in this process, once."""
    for library in text_op_libraries():
        tf.load_op_library(library)
