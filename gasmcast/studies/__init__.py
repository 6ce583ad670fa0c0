"""Ablation studies: rows of settings, trained with several seeds and compared."""
