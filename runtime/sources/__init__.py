"""Sources of frames: cameras of this machine and the network, files, the built-in scene."""
