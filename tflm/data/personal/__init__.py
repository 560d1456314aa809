"""Personal data in texts: found by patterns with checks, masked, and counted. docs/privacy.md is about it.

Importing this package imports neither TensorFlow nor any pattern.
"""

from tflm.data.personal.masking import MaskedText, Masker
from tflm.data.personal.patterns import ALL, PATTERNS, PersonalData, check_kinds, personal_data

__all__ = ["ALL", "PATTERNS", "MaskedText", "Masker", "PersonalData", "check_kinds", "personal_data"]
