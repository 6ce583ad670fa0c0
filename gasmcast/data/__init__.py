"""Read data sets in the format of Something-Something-V2, and generate a synthetic one."""
