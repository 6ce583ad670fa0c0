"""HTTP servers that a slow or silent client cannot hold up: `/metrics`, the web view, `serve`."""
