"""The web view: pictures, decisions and events of a run in a browser (`--web`)."""
