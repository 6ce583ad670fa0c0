"""False alarms: idle logits, exact bounds of a rate, choice of thresholds, and the live check."""
