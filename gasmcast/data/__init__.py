"""Read, check and convert data sets of many formats, and generate a synthetic one."""
