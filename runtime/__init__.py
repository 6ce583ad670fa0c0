"""Runtime: recognize actions with a bundle, on cameras and files, without torch."""
