import re

import numpy as np

from gasmcast.export.checks.heldout_clips import Clips
from gasmcast.export.report.export_page import render_page
from gasmcast.labels import Labels
from gasmcast.report.film_strip import thumbnail


def verdict(**changes):
    base = {
        "precision": "int8",
        "passed": False,
        "agreement": 0.9,
        "top1": 0.8,
        "top1_loss": 0.05,
        "loss_interval": (0.01, 0.09),
        "ece": 0.02,
        "temperature": 1.3,
        "no_action": None,
        "reasons": ["agreement with FP32 is 90.0 %"],
        "disagree": [1],
    }
    return {**base, **changes}


def report():
    comparison = {
        "component": "encoder",
        "tensor": "semantic",
        "engine": "openvino",
        "passed": True,
        "max_error": 1e-5,
        "mean_error": 1e-6,
        "cosine": 1.0,
        "snr_db": 120.0,
        "top1": None,
        "top5": None,
        "worst": [1, 0],
    }
    tensor = {"tensor": "blocks.3/LayerNormalization", "outlier_ratio": 320.0}
    smoothed = {
        "tensor": "blocks.3",
        "outlier_ratio": 320.0,
        "power": 0.7,
        "folded": True,
        "error_before": 0.1,
        "error_after": 0.001,
    }
    return {
        "checkpoint": "runs/<script>alert(1)</script>",
        "random_weights": True,
        "steps_s": {"trace": 3.0},
        "engines": {"fp32": "openvino"},
        "clips": {"count": 2, "origin": "validation", "labeled": True, "unread": []},
        "parity": {
            "clips": ["a", "b"],
            "origin": "validation",
            "passed": True,
            "comparisons": [comparison],
        },
        "deviation": {
            "int8": [{**comparison, "component": "streaming", "engine": "int8", "snr_db": 31.0}]
        },
        "verdicts": [verdict()],
        "rules": [{"file": "head.onnx", "passed": True, "nodes": 12}],
        "calibration": {
            "clips": 8,
            "classes": 3,
            "segments": 64,
            "head_clips": 8,
            "sha256": "ab" * 32,
            "tensors": {"encoder": [tensor]},
            "smoothed": {"encoder": [smoothed]},
        },
        "search": {
            "int8": {
                "moved_back": ["blocks.3"],
                "tried": [{"moved_back": 1, "passed": True}],
                "sensitivity": [
                    {"block": "blocks.3", "component": "encoder", "noise": 0.5, "agreement": 0.7}
                ],
            }
        },
        "speed": {
            "timings": [
                {"component": "head", "precision": "int8", "engine": "openvino", "median_ms": 4.0}
            ],
            "notes": ["INT8 lost to FP32 here"],
        },
        "files": {"head.onnx": 1234567},
        "temperature_of_eval": None,
        "not_judged": {"int8_bf16": "int8, whose files it runs, did not pass"},
    }


def clips():
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3, 2, 32, 32, 3)).astype(np.uint8)
    return Clips(pixels, ("a", "b"), np.array([0, 1]), "validation")


def test_the_page_stands_alone_and_escapes_what_it_is_given():
    page = render_page(report(), Labels(["push", "pull"]), clips())
    assert "<script" not in page
    assert not re.search(r"(src|href)=['\"](?!data:)", page)
    for wanted in (
        "Accuracy gate",
        "is not in the bundle",
        "int8_bf16 was not judged: int8, whose files it runs, did not pass.",
        "Parity",
        "What each precision changes",
        "INT8 lost to FP32",
        "Outliers of the encoder",
        "Sensitivity",
        "random",
        "pull",
    ):
        assert wanted in page
    assert "@media print" in page


def test_thumbnails_are_images_inside_the_page():
    assert thumbnail(clips().pixels[0]).startswith("data:image/jpeg;base64,")
    page = render_page(report(), Labels(["push", "pull"]), clips())
    assert page.count('<img alt="frames of the clip" src="data:image/jpeg;base64,') == 1
