"""Compare exported graphs with their reference and gate their accuracy."""
