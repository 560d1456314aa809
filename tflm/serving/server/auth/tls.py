"""TLS for both ports: certificate and key from files, looked at before the server listens; mutual TLS if asked for.

tls = Tls.from_files("server.pem", "server.key", client_ca_file="clients.pem")
RestServer(..., tls=tls.context)
GrpcServer(..., credentials=tls.credentials)
"""

import logging
import os
import ssl
import tempfile

import grpc

from tflm.errors import UserError
from tflm.serving.protos.server_config_pb2 import SSLConfig
from tflm.serving.server.core.text_proto import read_text_proto

_CERTIFICATE_IS_EARLY, _CERTIFICATE_IS_OLD = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, ..._HAS_EXPIRED
_EXAMPLE = 'server_key: "-----BEGIN PRIVATE KEY-----\\n..." server_cert: "-----BEGIN CERTIFICATE-----\\n..."'
_log = logging.getLogger(__name__)


class Tls:
    """TLS 1.2 or later.

    Attributes:
        context: for REST.
        credentials: for gRPC.
    """

    def __init__(self, context: ssl.SSLContext, credentials: grpc.ServerCredentials) -> None:
        self.context, self.credentials = context, credentials

    @classmethod
    def from_files(cls, certificate_file: str, key_file: str, client_ca_file: str | None = None) -> "Tls":
        """From PEM files.

        Args:
            certificate_file: the server's certificate, and behind it those between it and its authority.
            key_file: its key, not encrypted.
            client_ca_file: clients must show a certificate that one of these authorities has signed.
        Raises:
            UserError: a file that cannot be read, that is not PEM, a key of another certificate, an encrypted key.
        """
        certificate = _read(certificate_file, "ssl_certificate_file")
        key = _read(key_file, "ssl_key_file")
        client_ca = _read(client_ca_file, "ssl_client_ca_file") if client_ca_file else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_pair(context, certificate_file, key_file)
        if client_ca_file:
            _load_authorities(context, client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        _warn_of_dates(certificate_file, key_file)
        credentials = grpc.ssl_server_credentials([(key, certificate)], client_ca, bool(client_ca))
        return cls(context, credentials)

    @classmethod
    def from_config_file(cls, path: str) -> "Tls":
        """From TensorFlow Serving's --ssl_config_file (tensorflow_serving/config/ssl_config.proto), which holds the
        PEM texts themselves:

            server_key: "-----BEGIN PRIVATE KEY-----\\nMII...\\n-----END PRIVATE KEY-----\\n"
            server_cert: "-----BEGIN CERTIFICATE-----\\nMII...\\n-----END CERTIFICATE-----\\n"
            custom_ca: ""
            client_verify: false

        There it holds for gRPC alone, here for REST too.

        Raises:
            UserError: as `from_files`, or a file that is not of this form.
        """
        message = read_text_proto(path, "ssl_config_file", SSLConfig(), _EXAMPLE)
        if message.client_verify and not message.custom_ca:
            raise UserError(
                f"--ssl_config_file={path}: client_verify is on, but custom_ca, who signs the clients' certificates, "
                "is empty. Give its PEM text."
            )
        with tempfile.TemporaryDirectory() as folder:  # the ssl module takes files alone; ours to read alone
            names = ("server_cert", "server_key", "custom_ca")
            for name in names:
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(getattr(message, name))
            certificate, key, authorities = (os.path.join(folder, name) for name in names)
            try:
                return cls.from_files(certificate, key, authorities if message.client_verify else None)
            except UserError as error:
                words = str(error).replace(f"{folder}{os.sep}", "")
                raise UserError(f"--ssl_config_file={path}: {words}") from None


def _read(path: str, flag: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"--{flag}={path} cannot be read: {error.strerror}.") from error


def _load_pair(context: ssl.SSLContext, certificate_file: str, key_file: str) -> None:
    def no_password() -> str:
        raise UserError(
            f"the key {key_file} is encrypted, and no password can be entered. Decrypt it: openssl pkey -in "
            f"{key_file} -out NEW_KEY, and chmod 600 NEW_KEY"
        )

    try:
        context.load_cert_chain(certificate_file, key_file, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UserError(
                f"the key {key_file} does not belong to the certificate {certificate_file}. The first certificate in "
                "the file must be the server's own."
            ) from error
        raise UserError(
            f"{certificate_file} and {key_file} cannot be used ({error.reason or error}). Expected a certificate and a "
            "key in PEM form, with lines such as -----BEGIN CERTIFICATE-----."
        ) from error


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise UserError(
            f"{path} has no certificates of authorities ({error.reason or error}). Expected PEM form."
        ) from error


def _warn_of_dates(certificate_file: str, key_file: str) -> None:
    """Says so if the certificate is out of date. It is the client who refuses it; ours here is in this process, and
    trusts this one certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate_file, key_file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate_file)
    try:
        _shake_hands(client, server)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _CERTIFICATE_IS_OLD:
            _log.warning(
                "the certificate %s has expired: clients will refuse it. Renew it.", certificate_file
            )
        elif error.verify_code == _CERTIFICATE_IS_EARLY:
            _log.warning(
                "the certificate %s is not valid yet: clients will refuse it. Is this machine's clock right?",
                certificate_file,
            )


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """The client's part of a handshake between the two, in memory.

    Raises:
        SSLCertVerificationError: the client does not trust the server.
    """
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (asking, answering, asking):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
