"""Credentials of a client: token, client certificate, certificate authorities. Imports no TensorFlow."""

import dataclasses
import os
import ssl

from tflm.errors import UserError
from tflm.serving.tokens import check_token, read_tokens


@dataclasses.dataclass(frozen=True)
class Credentials:
    """For `connect`; what is not given is asked of the environment.

    Credentials.find(token_file="token.txt")        # and TFLM_CA_FILE, where that is set
    """

    token: str = dataclasses.field(default="", repr=False)
    """Sent as `Authorization: Bearer TOKEN`; none if empty."""
    ca_file: str = ""
    """PEM file of the authorities that may have signed the server's certificate. If empty, the system's, or over gRPC
    those that gRPC brings."""
    certificate_file: str = ""
    """PEM file of the client's own certificate, for a server that asks for one."""
    key_file: str = ""
    """PEM file of its key; empty if it is in `certificate_file`."""

    @classmethod
    def find(
        cls,
        token: str | None = None,
        token_file: str | None = None,
        ca_file: str | None = None,
        certificate_file: str | None = None,
        key_file: str | None = None,
    ) -> "Credentials":
        """Each as given, or else of TFLM_TOKEN, TFLM_CA_FILE, TFLM_CERTIFICATE_FILE and TFLM_KEY_FILE.

        Args:
            token: "" for none, whatever the environment has.
            token_file: its first token is sent.
        Raises:
            UserError: an invalid token, a file that cannot be read, or a key without its certificate.
        """
        if token is None and token_file:
            token = read_tokens(token_file, "token_file")[0]
        elif token is None:
            token = os.environ.get("TFLM_TOKEN", "").strip()
            token = check_token(token, "TFLM_TOKEN") if token else ""
        elif token:
            check_token(token, "token")
        found = cls(
            token,
            ca_file or os.environ.get("TFLM_CA_FILE", ""),
            certificate_file or os.environ.get("TFLM_CERTIFICATE_FILE", ""),
            key_file or os.environ.get("TFLM_KEY_FILE", ""),
        )
        if found.key_file and not found.certificate_file:
            raise UserError(
                f"the key {found.key_file!r} was given without its certificate: give certificate_file or "
                "TFLM_CERTIFICATE_FILE too, or neither."
            )
        return found

    def headers(self) -> dict[str, str]:
        """The header that shows the token, under gRPC's lower-case name; empty without one."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def ssl_context(self) -> ssl.SSLContext:
        """For HTTPS: TLS 1.2 or later, the server's certificate and name are checked.

        Raises:
            UserError: a file that cannot be read, or is no certificate or no key.
        """
        files = ", ".join(file for file in (self.ca_file, self.certificate_file, self.key_file) if file)
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.certificate_file:
                context.load_cert_chain(
                    self.certificate_file, self.key_file or None, password=lambda: _no_password(self)
                )
        except OSError as error:  # of which ssl.SSLError is one
            raise UserError(
                f"the certificates cannot be used ({error.strerror or error}). Expected PEM files, and a key that "
                f"belongs to the certificate; got {files}."
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """For gRPC: the authorities, the client's key and its certificate; None for what there is not.

        Raises:
            UserError: as `ssl_context`.
        """
        self.ssl_context()  # gRPC would say nothing but "failed to connect"
        key_file = self.key_file or self.certificate_file
        return (
            _read(self.ca_file),
            _read(key_file if self.certificate_file else ""),
            _read(self.certificate_file),
        )


def client_certificate_hint(credentials: Credentials) -> str:
    """For the message when a server with TLS breaks the connection: some say nothing to a client that shows none."""
    if credentials.certificate_file:
        return ""
    return " It may require a client certificate: TFLM_CERTIFICATE_FILE and TFLM_KEY_FILE."


def _read(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()


def _no_password(credentials: Credentials) -> str:
    raise UserError(
        f"the key {credentials.key_file or credentials.certificate_file} is encrypted, and no password can be "
        "entered. Decrypt it: openssl pkey -in KEY -out NEW_KEY, and chmod 600 NEW_KEY"
    )
