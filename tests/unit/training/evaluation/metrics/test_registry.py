from __future__ import annotations

from training.evaluation.metrics import METRICS


def test_every_definition_is_one_sentence_under_its_own_name():
    for name, definition in METRICS.items():
        assert definition.name == name
        assert definition.sentence.endswith("."), name
        assert "|" not in name + definition.sentence  # it would split a table's cell
        assert definition.better in ("higher", "lower")


def test_the_issue_s_metrics_are_all_defined():
    promised = {"Acc@0.1", "Acc@0.3", "Acc@0.5", "Box mIoU", "R@1", "Box mAP"}
    promised |= {"Mask mAP", "Dice", "NSD", "HIT", "Pointing game", "CNR", "AUROC"}
    promised |= {"No-target accuracy", "Pr@(F1=1)", "ECE place", "D-ECE", "AURC"}
    promised |= {"Spatial precision", "Spatial recall", "Instance F1", "Brier"}

    assert promised <= set(METRICS)
