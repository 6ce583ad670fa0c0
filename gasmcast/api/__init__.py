"""Public functions behind the verbs: train, evaluate, export, load and live."""
