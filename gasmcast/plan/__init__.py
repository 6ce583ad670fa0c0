"""Cost model of fleets of cameras and of archives, with the origin of each figure."""
