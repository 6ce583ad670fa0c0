"""Data sets in the format of Something-Something-V2, and the made-up one."""
