"""Names and figures."""

import re

import pytest
import yaml

from tflm.export.deploy.settings import command_line, dns_label


@pytest.mark.parametrize(
    "name",
    [
        "chat",
        "Chat",
        "chat_demo",
        "聊天",
        "模型",
        "v1.5 final",
        "7b",
        "-",
        "a" * 90,
        "a$b'c",
        "on",
        "true",
        "Null",
    ],
)
def test_a_name_for_kubernetes_is_a_dns_label(name):
    assert re.fullmatch("[a-z]([-a-z0-9]{0,50}[a-z0-9])?", dns_label(name))
    assert yaml.safe_load(dns_label(name)) == dns_label(name), "YAML would read no string"


def test_names_stay_different():
    names = ["chat", "Chat", "chat_", "chat-", "聊天", "模型", "a" * 90, "a" * 91]
    assert len({dns_label(name) for name in names}) == len(names)
    assert dns_label("chat-2") == "chat-2"


def test_memory_grows_with_weights_twice_and_with_the_state(made):
    small = made(made.writer, "a").settings.memory_mib
    assert small == 512 + 128
    heavy = made(made.writer, "b", num_weight_bytes=2**30).settings.memory_mib
    assert heavy - small == 2 * 1024
    long = made(made.writer, "c", max_length=2**16).settings.memory_mib
    assert long - small == 16 * 2**16 * 4 * 4 * 16 / 2**20  # sixteen rows at work


def test_who_writes_gets_minutes_and_who_does_not_gets_large_batches(made):
    writer, classifier = made(made.compiled, "a").settings, made(made.classifier, "b").settings
    assert (writer.timeout_seconds, classifier.timeout_seconds) == (300, 30)
    assert classifier.batch_rows > writer.batch_rows
    assert writer.drain_seconds > writer.timeout_seconds


def test_batching_is_on_only_where_no_signature_suffers(made):
    batching = "--enable_batching=true"
    assert batching in command_line(made(made.classifier, "a").settings)
    assert batching not in command_line(made(made.writer, "b").settings)
    assert not any("batching" in flag for flag in command_line(made(made.writer, "c").settings))


def test_enough_threads_to_fill_the_batches(made):
    settings = made(made.classifier).settings
    flags = dict(flag[2:].split("=") for flag in command_line(settings)[1:])
    assert int(flags["rest_api_num_threads"]) == int(flags["grpc_max_threads"]) == 2 * settings.batch_rows
