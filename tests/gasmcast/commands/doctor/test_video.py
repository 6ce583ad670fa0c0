import sys

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
