"""Export: write, audit and verify a SavedModel that maps strings to strings."""

from tflm.export.audit import audit_ops, text_ops_in
from tflm.export.checksums import verify_checksums
from tflm.export.signatures import SignatureDtypes, is_compiled, read_signatures
from tflm.export.text_ops import load_text_ops, text_op_libraries
from tflm.export.verify import ExportError, verify_export
from tflm.export.versions import version_numbers
from tflm.export.write import write_export

__all__ = [
    "ExportError",
    "SignatureDtypes",
    "audit_ops",
    "is_compiled",
    "load_text_ops",
    "read_signatures",
    "text_op_libraries",
    "text_ops_in",
    "verify_checksums",
    "verify_export",
    "version_numbers",
    "write_export",
]
