"""Addresses on the internet: e-mail, IP, users in URLs."""

import ipaddress
import re
from collections.abc import Iterator

from tflm.data.personal.patterns import AT, personal_data

_ATOM = "[A-Za-z0-9_%+'-]"
_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9_%+'.-])(?P<local>{_ATOM}{{1,64}}(?:\.{_ATOM}{{1,64}}){{0,8}})"
    r"@(?P<domain>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}(?P<top>[A-Za-z]{2,24}))"
    r"(?![A-Za-z0-9@(_-])"
)
_IN_URL = re.compile(r"://[^\s/@]*$")
_NO_LETTER = re.compile("^[^A-Za-z0-9]+")
_FILE_ENDINGS = frozenset(
    (
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "ico",
        "bmp",
        "pdf",
        "css",
        "js",
        "ts",
        "py",
        "html",
        "htm",
        "json",
    )
)

_IP4 = re.compile(
    r"(?<![0-9A-Za-z_.\-+~^=<>])(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
    r"(?![0-9A-Za-z_])(?!\.[0-9A-Za-z])(?!-[0-9A-Za-z])"
)
_NUMBERED = re.compile(  # words before numbers of versions and of sections
    r"(?:\bv|\bver|\bversions?|\brelease|\bsections?|\bsec|\bchapter|\btable|\bfig|\bfigure|\bappendix|\bbuild|\bfirmware"
    r"|版本号?|版|固件|升级到|更新到|升至|系统|第|章|节|表|图|§)[. :：为是号]{0,3}(?:[0-9.]+[ ,、和and]{1,5})?$",
    re.IGNORECASE,
)
_ADDRESSED = re.compile(
    r"(?:\bip|\baddress|\bhosts?|\bserver|\bdns|\bping|://|@|地址|服务器|主机)[^0-9\n]{0,12}$", re.IGNORECASE
)
_LOOK_BACK = 24
_IP6 = re.compile(
    r"(?<![0-9A-Za-z:.])(?:[23][0-9A-Fa-f]{3}|[fF][c-eC-E][0-9A-Fa-f]{2}):[0-9A-Fa-f:]{2,35}(?:[0-9.]{7,15})?(?![0-9A-Za-z:])"
)
_URL_USER = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,15}://(?P<user>[^\s/@:?#<>\"'{}$%]{1,64}(?::[^\s/@<>\"'{}$]{0,128})?)(?=@[A-Za-z0-9\[])"
)


@personal_data("email", tag="<email>", needs=AT)
def emails(text: str) -> Iterator[tuple[int, int]]:
    """E-mail addresses (RFC 5321, unquoted) with a domain of ASCII letters."""
    for found in _EMAIL.finditer(text):
        before = _NO_LETTER.match(found["local"])  # a quotation mark, such as 'a@example.com'
        start = found.start() + (before.end() if before else 0)
        is_file = found["top"].lower() in _FILE_ENDINGS  # icon@2x.png
        if not is_file and text[start] != "@" and not _IN_URL.search(text[max(0, start - 200) : start]):
            yield start, found.end()


@personal_data("ip_address", tag="<ip>", needs="[0-9\uff10-\uff19]")
def ip_addresses(text: str) -> Iterator[tuple[int, int]]:
    """IPv4 and IPv6 addresses, without those of this machine (127.0.0.1, ::1, 0.0.0.0) and netmasks.

    Four numbers after words such as version, section, 版本 or 第 are not addresses, nor are four single digits, unless
    a word such as address, host or 地址 stands before them.
    """
    for found in _IP4.finditer(text):
        before = text[max(0, found.start() - _LOOK_BACK) : found.start()]
        is_short = len(found[0]) == 7
        if found[0].startswith(("0.", "127.", "255.")) or _NUMBERED.search(before):
            continue
        if not is_short or _ADDRESSED.search(before):
            yield found.span()
    for found in _IP6.finditer(text):
        address = found[0].rstrip(".") if found[0].endswith(".") else found[0]
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            continue
        yield found.start(), found.start() + len(address)


@personal_data("url_user", tag="<user>", needs=AT)
def url_users(text: str) -> Iterator[tuple[int, int]]:
    """The user, and the password, in URLs such as ssh://user:password@host."""
    for found in _URL_USER.finditer(text):
        yield found.span("user")
