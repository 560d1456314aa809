"""An authority made on the spot, and certificates that it has signed."""

import dataclasses
import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


@dataclasses.dataclass
class Pair:
    """A certificate and its key, in PEM files."""

    certificate: str
    key: str


class Authority:
    """Signs.

    Attributes:
        file: its own certificate.
    """

    def __init__(self, folder: pathlib.Path, name: str = "authority") -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = self._builder(self._name, self._key, -1, 30)
        builder = builder.add_extension(basic, True).add_extension(usage, True)
        self._identity = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        certificate = builder.add_extension(self._identity, False).sign(self._key, hashes.SHA256())
        self.file = self._write(f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM))

    def sign(
        self,
        file: str,
        host: str = "127.0.0.1",
        first: int = -1,
        last: int = 30,
        password: bytes | None = None,
    ) -> Pair:
        """A certificate for a host, valid between two numbers of days from today."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        try:
            other: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            other = x509.DNSName(host)
        builder = self._builder(name, key, first, last)
        builder = builder.add_extension(x509.SubjectAlternativeName([other]), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identity)
        certificate = builder.add_extension(issuer, False).sign(self._key, hashes.SHA256())
        hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            hidden = serialization.BestAvailableEncryption(password)
        form = serialization.PrivateFormat.PKCS8
        return Pair(
            self._write(f"{file}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{file}.key", key.private_bytes(serialization.Encoding.PEM, form, hidden)),
        )

    def _builder(self, name, key, first, last):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + first * DAY)
            .not_valid_after(now + last * DAY)
        )

    def _write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)
