"""Draw plots and charts, and render HTML pages, for all reports."""
