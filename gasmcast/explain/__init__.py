"""Show why a model decides: attention, occlusion, layers, streams, and the features behind them."""
