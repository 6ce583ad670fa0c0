"""Answer whether a data set is large enough: learning curves, forecasts, and harmful clips."""
