"""The table of `benchmarks/training_matrix.py`; the trainings take minutes and are not run here."""

from benchmarks import training_matrix


def test_each_cell_is_compared_with_one_device_and_the_same_adapters():
    names = [training_matrix.name_of(*each) for each in training_matrix.combinations()]
    assert len(set(names)) == len(names) == 24
    one = {name: [2.0, 4.0] if "LoRA" in name else [1.0, 1.0] for name in names}
    two = {**one, "mixed_bfloat16 LoRA": [2.0, 5.0]}
    head, line, *rows = training_matrix.table({"one_device": one, "mirrored": two}).splitlines()
    assert head.count("|") == line.count("|") == 11 and len(rows) == 6
    assert rows[0].split(" | ")[:4] == ["| one_device", "float32", "reference", "reference"]
    cells = dict(zip(head.strip("| ").split(" | "), rows[4].strip("| ").split(" | "), strict=True))
    assert cells["strategy"] == "mirrored" and cells["precision"] == "mixed_bfloat16"
    assert cells["LoRA"] == "2e-01" and cells["none"] == cells["recomputation"] == "equal"
