"""What every tokenizer does to text first: valid UTF-8, lower case if asked, one Unicode form."""

import tensorflow as tf

REPLACEMENT = "\ufffd"


def replace_invalid_utf8(text: tf.Tensor) -> tf.Tensor:
    """Each broken UTF-8 sequence becomes U+FFFD; valid text stays as it is.

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
    """Valid UTF-8 in lower case (if asked) and in one Unicode form (if asked).

    Args:
        text: string [B].
        form: "NFC", "NFKC" or None. NFC composes (e + accent -> é) and keeps full-width punctuation and
            U+3000; NFKC turns them into half-width ones.
        case_fold: whether to lower-case.
    Returns:
        string [B].
    """
    text = replace_invalid_utf8(text)
    if case_fold:
        # Not tensorflow_text.case_fold_utf8 (which keras-nlp's `lowercase=True` calls): that applies
        # NFKC_Casefold, which makes ，a comma and U+3000 a space. This one is a core op besides.
        # It ends a text at its first NUL, which is therefore replaced.
        text = tf.strings.lower(tf.strings.regex_replace(text, r"\x00", REPLACEMENT), encoding="utf-8")
    return text if form is None else unicode_form(text, form)


def unicode_form(text: tf.Tensor, form: str) -> tf.Tensor:
    """Unicode normalization (UAX #15) of string [B] by tensorflow-text, which is imported only here."""
    import tensorflow_text

    return tensorflow_text.normalize_utf8(text, form)
