"""Each kind of personal data, in English and Chinese, and what looks like it and is not."""

import random
import re

import pytest

from tflm.data.personal import PATTERNS, Masker, check_kinds, personal_data
from tflm.data.personal.patterns import find_kinds, plain_forms, plugin_files
from tflm.errors import UserError

FOUND = [  # a text, in which every span is between brackets, and the kinds
    ("身份证[11010519491231002X]。", "identity_number"),
    ("证件号：[１１０１０５１９４９１２３１００２Ｘ]", "identity_number"),
    ("[110105 19491231 002x] and [110105-19491231-002X]", "identity_number"),
    ("旧证[110105491231002]", "identity_number"),
    ("手机[13812345678]，[１３８１２３４５６７８]", "chinese_mobile"),
    ("call [+86 138 1234 5678], [(+86)13812345678] or [0086 13812345678]", "chinese_mobile"),
    ("[138-1234-5678]/[138–1234–5678],[1381 2345 678]", "chinese_mobile"),
    ("tel[13812345678] QQ[13912345678] [13812345678]-张三", "chinese_mobile"),
    ("卡号[6222021234567890128]", "bank_card"),
    ("[4111 1111 1111 1111] [4111-1111-1111-1111] [5555555555554444]", "bank_card"),
    ("[3782 822463 10005] [378282246310005]", "bank_card"),
    ("车牌[京A12345]、[粤B·D12345]、[苏E1234学]", "number_plate"),
    ("a taxi, [沪AD12345]", "number_plate"),
    ("[DE89 3704 0044 0532 0130 00] or [GB82WEST12345698765432]", "iban"),
    ("[FR14 2004 1010 0505 0001 3M02 606] IS MINE", "iban"),
    ("SSN [123-45-6789].", "us_social_security"),
    ("[(555) 234-5678]", "phone"),
    ("[555-234-5678] [555.234.5678] [1-555-234-5678]", "phone"),
    ("[010-12345678]；[0755-83012345]；[(010) 12345678]", "phone"),
    ("[+44 20 7946 0958] [+44 (0)20 7946 0958] [+12025550123] [+33 6 12 34 56 78]", "phone"),
    ("[020 7946 0958], [07700 900123], [03-1234-5678], [030/1234567]", "phone"),
    ("邮箱[zhang.san@qq.com]谢谢，[ｚｈａｎｇ＠qq.com]", "email"),
    ("'[bob@example.co.uk]' <[ann+x@mail.example.com]> mailto:[a@b.cn]. key=[13812345678@139.com]", "email"),
    ("https://[bob:secret]@example.com/x ssh://[git]@host.org:22", "url_user"),
    ("from [192.168.1.20]:8080, http://[8.8.8.8]/, 地址[1.1.1.1]", "ip_address"),
    ("[2001:db8::ff00:42:8329] [fe80::1] http://[[2001:db8:85a3::8a2e:370:7334]]:80/", "ip_address"),
    ("护照号：[E12345678] Passport No. [EA1234567]", "passport"),
    ("[L898902C36UTO7408122F1204159ZE184226B<<<<<10]", "passport"),
    ("公司[91350100M000100Y43]", "company_code"),
]
NOT_FOUND = [
    "version 1.2.3.4, v10.2.3.4, tensorflow==2.19.0.1, 版本1.0.12.3，版本号：12.0.1.30，升级到 10.15.7.1",
    "1.2.3.4, section 10.2.3.4 and 10.2.3.5, 第3.2.1.14节, 120.0.6099.109, 1.3.6.1.4.1.311",
    "127.0.0.1 0.0.0.0 255.255.255.0 ::1",
    "1612345678 1612345678901 1612345678901234567 20240131123045 2024-01-31 12:30:45.123456",
    "SN13812345678 ABC-13812345678-X x13812345678 138123456789 0.13812345678 13812345678.5 4711-13812345678",
    "订单号：13812345678，订单202401311234567890，order no. 13812345678, 13800000000",
    "ISBN 978-7-111-12345-6, ISBN 9787111123456, CVE-2021-44228, A1234567, E12345678",
    "型号RTX4090，全新BMW530i，新RTX3060，云ECS12345，京东，A4纸，川A级，新H7N9，全新A12345",
    "x[100::2] std::vector a[::2] [1::2] abc::def 12:34:56",
    "3.1415926535897932 0x4111111111111111 1000000000000000 138,123,456",
    "icon@2x.png @decorator x@w.T user@host a @ b {user}@host.com https://x.com/@user",
    "-2147483648 to +2147483647, +1 -1 +2, [+1, +2, +3], UTC+08:00, 3 + 12",
    "100 200 3000, 200 300 4000, 555-2345, 555-234-56789, 010101",
    "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000",
    # One digit of a number that is valid is another.
    "110105194912310021 110105194913310020 4111111111111112 DE89370400440532013001 91350100M000100Y44",
    "L898902C37UTO7408122F1204159ZE184226B<<<<<10",
]


@pytest.fixture(name="masker", scope="module")
def masker_fixture():
    return Masker()


@pytest.mark.parametrize(
    ("marked", "kind"), FOUND, ids=[f"{kind} {row}" for row, (_, kind) in enumerate(FOUND)]
)
def test_found(masker, marked, kind):
    expected = [found[1] for found in re.finditer(r"\[([^\[\]]+)\]", marked)]
    text = re.sub(r"\[([^\[\]]+)\]", r"\1", marked)
    spans = masker.find(text)
    assert [text[span.start : span.end] for span in spans] == expected
    assert {span.kind for span in spans} == {kind}
    assert Masker([kind]).find(text) == spans


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_found(masker, text):
    assert [text[span.start : span.end] for span in masker.find(text)] == []


def test_every_kind_has_an_example_and_a_tag_that_is_not_found_again(masker):
    assert {kind for _, kind in FOUND} == set(PATTERNS.names())
    for marked, _ in FOUND:
        masked = masker.mask(re.sub(r"[\[\]]", "", marked)).text
        assert masker.mask(masked).text == masked


def test_random_numbers_are_rarely_found():
    """By check digit: 1 in 11 of identity numbers with a date, 1 in 10 of cards with a prefix of an issuer."""
    draw = random.Random(0)
    cards, identities, prefixed = Masker(["bank_card"]), Masker(["identity_number"]), 0
    for _ in range(1000):
        digits = "".join(draw.choices("0123456789", k=10))
        prefixed += len(cards.find(f"622202{digits}"))
        assert len(identities.find(f"11010519491231{digits[:4]}")) <= 1
    assert 60 <= prefixed <= 140
    found = sum(len(identities.find(f"11010519491231{number:04}")) for number in range(1000))
    assert 86 <= found <= 96


@pytest.mark.parametrize(
    "part",
    [
        "1",
        "a.",
        "a@",
        "a@a.",
        "+1 2",
        "+1234567890123456789a ",
        "1.",
        "2001:",
        "P<",
        "a://b:",
        "护照",
        "京A",
        "A1 ",
    ],
)
def test_a_long_text_takes_time_in_proportion(masker, part):
    """A pattern that goes back and forth over these would not end."""
    assert masker.mask(5_000 * part + "!").text.endswith("!")


def test_full_width_forms_keep_positions():
    text = "－１３８，ａ\u3000–"
    assert plain_forms(text) == "-138,a -" and len(plain_forms(text)) == len(text)


def test_overlapping_spans_are_one():
    @personal_data("test_word", tag="<word>")
    def words(text):
        """Words with a number."""
        return [found.span() for found in re.finditer("id [0-9]{4}", text)]

    try:
        masked = Masker(["test_word", "chinese_mobile"]).mask("my id 1381 2345 678!")
        assert masked.text == "my <phone>!" and masked.moved(0, 2) == (0, 2)
        assert plugin_files(["test_word", "email"]) == [__file__]
        assert [each.summary for each in find_kinds(["test_word"])] == ["Words with a number."]
    finally:
        PATTERNS.remove("test_word")


def test_offsets_move_with_the_text(masker):
    masked = masker.mask("问a@b.com或13812345678。")
    assert masked.text == "问<email>或<phone>。"
    for old, new in (((0, 1), "问"), ((1, 8), "<email>"), ((2, 5), "<email>"), ((0, 3), "问<email>")):
        assert slice_of(masked, old) == new
    assert slice_of(masked, (8, 9)) == "或" and slice_of(masked, (9, 20)) == "<phone>"
    assert slice_of(masked, (20, 21)) == "。" and slice_of(masked, (0, 21)) == masked.text
    assert slice_of(masked, (7, 10)) == "<email>或<phone>"


def slice_of(masked, place):
    start, end = masked.moved(*place)
    return masked.text[start:end]


@pytest.mark.parametrize("kind", ["e-mail", "", "电话"])
def test_an_unknown_kind(kind):
    with pytest.raises(UserError, match=f"--kinds names '{kind}'; it must be all, or some of bank_card, "):
        check_kinds(["email", kind], "--kinds")


def test_a_tag_that_is_not_a_word():
    with pytest.raises(ValueError, match="must be like '<email>'"):
        personal_data("a", tag="[A B]")
