"""Serve bundles over HTTP (KServe v2), and write configurations of other servers."""
