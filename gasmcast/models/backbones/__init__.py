"""Define the two frozen backbones and load their weights."""

from gasmcast.no_telemetry import disable_telemetry

# Before any module here imports timm or Hugging Face's client, which read their switches then.
disable_telemetry()
