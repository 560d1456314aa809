"""The files of a report on a machine that has no font for the labels."""

import pytest

from apps.common.report_files import print_report, write_report
from tflm.evaluation.reports import fonts
from tflm.evaluation.reports.label_report import report_labels


@pytest.fixture
def report():
    """Of a classifier that is right twice out of three times."""
    import numpy as np

    def classify(columns):
        scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        names = np.array(["好评", "差评"])
        return {"label": names[scores.argmax(1)], "scores": scores, "labels": np.array([names] * 3)}

    labels = ("好评", "差评", "差评")
    examples = [{"text": f"{n}", "label": label} for n, label in enumerate(labels)]
    return {"name": "films", "step": 1, "split": "eval", **report_labels(classify, examples)}


def test_numbers_in_the_picture_and_what_they_mean_on_the_page(
    report, tmp_path, capsys, recwarn, monkeypatch
):
    monkeypatch.setattr(fonts, "_installed", list)
    write_report(report, str(tmp_path), "")
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "![confusion](confusion.png)\n\n| number in the picture | label |" in page
    assert "| 1 | 好评 |\n| 2 | 差评 |\n\n![reliability]" in page
    told = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(told) == 1, told
    assert told[0].startswith(f"{tmp_path}/confusion.png has numbers in place of names (1 好评, 2 差评)")
    assert "apt-get install fonts-noto-cjk" in told[0]
    assert not recwarn.list


def test_with_a_font_the_labels_themselves_are_in_the_picture(report, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fonts, "_characters", lambda path: frozenset(range(0x20, 0x10000)))
    write_report(report, str(tmp_path), "_2")
    assert "number in the picture" not in (tmp_path / "report_2.md").read_text(encoding="utf-8")
    assert not capsys.readouterr().err


def test_labels_line_up_in_a_pipe(report, capsys):
    print_report({**report, "logistic regression": report["this model"], "p_value": 0.25})
    blank, heading, header, own, other, test = capsys.readouterr().out.splitlines()
    assert (blank, heading) == ("", "3 examples; 95% intervals in brackets")
    assert header.split() == ["accuracy", "macro", "F1", "calibration", "error"]
    assert own.startswith("this model ") and " 66.67 [" in own
    assert other.startswith("logistic regression ") and len(own) == len(other) == len(header)
    assert test == "p = 0.2500 that the regression is no worse (paired bootstrap)"


def test_spans_with_chinese_names_line_up(capsys):
    row = {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "f1_interval": [0.5, 1.0], "support": 1200}
    micro = {f"micro_{name}": value for name, value in row.items() if name != "support"}
    print_report({"this model": {**micro, "per_label": {"地点": row}}, "texts": [{}]})
    assert capsys.readouterr().out == (
        "\n1 examples; 95% intervals in brackets\n"
        "           precision  recall                     F1  spans\n"
        "all spans      50.00  100.00  66.67 [50.00, 100.00]  1,200\n"
        "地点           50.00  100.00  66.67 [50.00, 100.00]  1,200\n"
    )


def test_measures_of_generated_texts_stand_next_to_the_baseline(capsys):
    own = {"rouge1": 45.123, "rouge1_interval": [40.0, 50.0], "bleu": 12.0, "num_tokens": 30}
    report = {"this model": own, "source's first sentence": {"rouge1": 9.5}, "texts": [{}, {}]}
    print_report({**report, "signatures": {"bleu": "tok:zh"}})
    assert capsys.readouterr().out == (
        "\n2 examples, 30 tokens; 95% intervals in brackets\n"
        "                  this model  source's first sentence\n"
        "rouge1  45.12 [40.00, 50.00]                     9.50\n"
        "bleu                   12.00                        –\n"
        "bleu: tok:zh\n"
    )
