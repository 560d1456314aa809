"""From a config and text to a tokenizer."""

from collections.abc import Iterable

from tflm.text.load_tokenizer import tokenizer_class
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import TokenizerConfig


def train_tokenizer(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """Learns a vocabulary; the same config and texts always give the same one.

    SentencePiece and WordPiece learn from lines spread over all the texts, about four million characters at
    most, which takes seconds. The texts are read once, so a generator over a large corpus will do.

    >>> tokenizer = train_tokenizer(TokenizerConfig(vocab_size=300), ["hello world", "你好，世界"])
    >>> tokenizer.detokenize(tokenizer.tokenize(["你好 world"])).numpy()[0].decode()
    '你好 world'

    Args:
        config: which kind and how large.
        texts: strings: lines, paragraphs or whole books.
    Raises:
        UserError: no text, or a `vocab_size` that does not fit it; the message has the nearest that does.
    """
    cls = tokenizer_class(config.kind)
    return cls(config, cls.train(config, texts))  # type: ignore[call-arg]
