"""The HTTP side: health, models, turns, metrics, the page; and who may come in."""
