"""One small tokenizer of each kind, trained once."""

import pytest

from tflm.export.verify import as_written
from tflm.text import Tokenizer, TokenizerConfig, train_tokenizer

TEXTS = [
    "Hello, world! The quick brown fox jumps over the lazy dog. Don't we like it (really)?",
    "你好，世界！我爱自然语言处理。他说“你好”，然后走了……你呢？",
    "Mixed 中文 and English：我用 TensorFlow 训练模型，loss=0.5。",
    "日本語のテキスト 안녕하세요 Ünïcödé façade naïve Straße",
    "code:\tif x:\n\t\treturn  y  # 四个  空格\r\n",
    "<s> </s> [SEP] [MASK] <0x0A> <unk> <pad> separator <|separator|>",
] * 3

CONFIGS = {
    "unigram": TokenizerConfig(vocab_size=380),
    "bpe": TokenizerConfig(vocab_size=430, algorithm="bpe"),
    "unigram_no_bytes": TokenizerConfig(vocab_size=125, byte_fallback=False),
    "wordpiece": TokenizerConfig(kind="wordpiece", vocab_size=300),
    "byte_pair": TokenizerConfig(kind="byte_pair", vocab_size=420),
    "byte": TokenizerConfig(kind="byte"),
    "character": TokenizerConfig(kind="character", vocab_size=320),
    "character_no_bytes": TokenizerConfig(kind="character", vocab_size=100, byte_fallback=False),
}


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    return {name: train_tokenizer(config, TEXTS) for name, config in CONFIGS.items()}


@pytest.fixture(params=list(CONFIGS))
def name(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs once for every tokenizer."""
    return request.param


@pytest.fixture(params=["unigram", "bpe", "byte_pair", "byte", "character"])
def lossless_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True, scope="module")
def without_graph_optimizer():
    """These graphs run a few times each: to optimise them takes longer than to run them."""
    with as_written():
        yield
