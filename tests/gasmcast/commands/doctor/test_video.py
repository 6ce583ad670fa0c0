import sys

import pytest

from gasmcast.commands.doctor import video


def test_an_opencv_that_cannot_be_loaded_is_a_warning_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (found,) = video.opencv()
    assert (found.topic, found.state) == ("OpenCV", "warn")
    assert "opencv-python" in found.remedy


def test_two_packages_of_opencv_are_a_warning(monkeypatch):
    monkeypatch.setattr(video, "version_of", lambda name: "4.14" if "contrib" not in name else None)
    found = video.opencv()[0]
    assert found.state == "warn"
    assert "opencv-python and opencv-python-headless overwrite each other" in found.text


@pytest.mark.parametrize(
    ("gui", "says"), [("GTK3", "windows available"), ("NONE", "windows not available")]
)
def test_windows_are_told_as_available_or_not(monkeypatch, gui, says):
    monkeypatch.setattr("cv2.getBuildInformation", lambda: f"  GUI:                  {gui}\n")
    assert says in video.opencv()[0].text
