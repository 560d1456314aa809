"""BERT (Devlin et al., 2019): also Chinese BERT, MiniLM, bge, sentence-transformers; and Google's own checkpoints."""

from collections.abc import Iterator, Mapping
from typing import Any

from tflm.models.checkpoints.family import Family, FamilyTensors, register_family
from tflm.models.checkpoints.weight_map import Entry, embedding, layer_norm, linear
from tflm.models.transformer_encoder import TransformerEncoderConfig


class BertLike(Family):
    """Encoders whose tensors are named as those of BERT."""

    config_class = TransformerEncoderConfig
    fields = {
        "num_layers": "num_hidden_layers",
        "hidden_dim": "hidden_size",
        "num_heads": "num_attention_heads",
        "intermediate_dim": "intermediate_size",
        "max_length": "max_position_embeddings",
        "norm_epsilon": "layer_norm_eps",
        "initializer_range": "initializer_range",
        "num_segments": "type_vocab_size",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
    }
    defaults = {
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
    }
    constants = {
        "norm": "layer_norm",
        "norm_position": "post",
        "positions": "learned",
        "use_bias": True,
        "embedding_norm": True,
    }
    accepted = {"position_embedding_type": ("absolute",), "is_decoder": (False,)}
    activations = {"gelu": "gelu_exact", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu"}
    renamed = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))
    ignored = (r"embeddings\.position_ids", r"embeddings\.token_type_ids")
    embeddings = "embeddings.word_embeddings.weight"

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """Segments: at least one."""
        return {"type_vocab_size": max(config.num_segments, 1), "pad_token_id": config.pad_id}

    def architecture_of(self, config: Any) -> str:
        """Without the head of masked language modeling, that of the body."""
        has_head = config.head_transform or config.output_bias
        return self.architecture if has_head else self.architecture.removesuffix("ForMaskedLM") + "Model"

    def body_map(self, config: Any) -> Iterator[Entry]:
        """Embeddings and layers."""
        yield from embedding("token_embedding", "embeddings.word_embeddings")
        yield from self.position_map(config)
        yield from layer_norm("encoder/embedding_norm", "embeddings.LayerNorm")
        for index in range(config.num_layers):
            yield from bert_block(f"encoder/block_{index}", f"encoder.layer.{index}")

    def position_map(self, config: Any) -> Iterator[Entry]:
        """Positions and segments."""
        yield from embedding("encoder/position_embedding", "embeddings.position_embeddings")
        if config.num_segments > 1:
            yield from embedding("segment_embedding", "embeddings.token_type_embeddings")


def bert_block(ours: str, theirs: str) -> Iterator[Entry]:
    """One layer."""
    attention = f"{theirs}.attention"
    for part in ("query", "key", "value"):
        yield from linear(f"{ours}/attention/{part}", f"{attention}.self.{part}", True)
    yield from linear(f"{ours}/attention/output", f"{attention}.output.dense", True)
    yield from layer_norm(f"{ours}/attention_norm", f"{attention}.output.LayerNorm")
    yield from linear(f"{ours}/feed_forward/inner", f"{theirs}.intermediate.dense", True)
    yield from linear(f"{ours}/feed_forward/outer", f"{theirs}.output.dense", True)
    yield from layer_norm(f"{ours}/feed_forward_norm", f"{theirs}.output.LayerNorm")


@register_family("bert")
class Bert(BertLike):
    """BERT with the head of masked language modeling and the pooler, where the file has them."""

    architecture = "BertForMaskedLM"
    prefix = "bert."
    heads = ("cls.",)
    dropped = (r"cls\.seq_relationship\..*", r"classifier\..*", r"qa_outputs\..*")

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """Which heads the file has."""
        head = "cls.predictions.transform.dense.weight" in tensors
        tied = not tensors.is_own("cls.predictions.decoder.weight", self.embeddings)
        tensors.is_own("cls.predictions.decoder.bias", "cls.predictions.bias")
        return {
            "head_transform": head,
            "output_bias": "cls.predictions.bias" in tensors,
            "tied_output": tied,
            "pooler": "pooler.dense.weight" in tensors,
        }

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `BertLike`."""
        return {**super().extra_keys(config), "tie_word_embeddings": config.tied_output}

    def weight_map(self, config: Any) -> Iterator[Entry]:
        """See `Family`."""
        yield from self.body_map(config)
        if config.pooler:
            yield from linear("pooler", "pooler.dense", True)
        if config.head_transform:
            yield from linear("head_transform", "cls.predictions.transform.dense", True)
            yield from layer_norm("head_norm", "cls.predictions.transform.LayerNorm")
        if config.output_bias:
            yield Entry.of("output_bias/bias", "cls.predictions.bias")
        if not config.tied_output:
            yield from linear("head", "cls.predictions.decoder", False)
