"""Text normalization before tokenization: valid UTF-8, optional lower case, optional Unicode normalization."""

import tensorflow as tf

REPLACEMENT = "\ufffd"


def replace_invalid_utf8(text: tf.Tensor) -> tf.Tensor:
    """Replaces invalid UTF-8 sequences by U+FFFD.

    >>> replace_invalid_utf8(tf.constant([b"a\\xe4\\xb8"])).numpy()[0].decode()
    'a�'

    Args:
        text: string [B].
    Returns:
        string [B].
    """
    return tf.strings.unicode_transcode(
        text, "UTF-8", "UTF-8", errors="replace", replacement_char=ord(REPLACEMENT)
    )


def clean_text(text: tf.Tensor, form: str | None, case_fold: bool) -> tf.Tensor:
    """Normalizes text.

    Args:
        text: string [B].
        form: "NFC", "NFKC" or None. NFC composes (e + accent -> é) and keeps full-width punctuation and
            U+3000; NFKC turns them into half-width ones.
        case_fold: bool, convert to lower case.
    Returns:
        string [B], valid UTF-8.
    """
    text = replace_invalid_utf8(text)
    if case_fold:
        # tensorflow_text.case_fold_utf8 (used by keras-nlp for `lowercase=True`) applies NFKC_Casefold, which turns ，
        # into a comma and U+3000 into a space, and is not a core op. tf.strings.lower truncates a text at its first
        # NUL, so NULs are replaced.
        text = tf.strings.lower(tf.strings.regex_replace(text, r"\x00", REPLACEMENT), encoding="utf-8")
    return text if form is None else unicode_form(text, form)


def unicode_form(text: tf.Tensor, form: str) -> tf.Tensor:
    """Unicode normalization (UAX #15) of string [B] by tensorflow-text, which is imported only here."""
    import tensorflow_text

    return tensorflow_text.normalize_utf8(text, form)
