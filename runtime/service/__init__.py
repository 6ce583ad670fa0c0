"""Run as a service: health, watchdog, systemd, secrets."""
