from gasmcast.commands.doctor import libraries


def test_two_packages_of_one_library_are_a_warning(monkeypatch):
    monkeypatch.setattr(
        libraries,
        "version_of",
        lambda name: "1.22" if name in {"onnxruntime", "onnxruntime-gpu"} else None,
    )
    (found,) = libraries.onnxruntime()
    assert found.state == "warn"
    assert "overwrite each other" in found.text
    assert found.remedy == "pip uninstall onnxruntime-gpu, then reinstall onnxruntime"


def test_what_is_missing_has_a_remedy_but_torch_is_not_missed(monkeypatch):
    monkeypatch.setattr(libraries, "version_of", lambda name: None)
    assert [
        found.state
        for probe in (libraries.openvino, libraries.onnxruntime, libraries.torch)
        for found in probe()
    ] == [
        "warn",
        "warn",
        "ok",
    ]
