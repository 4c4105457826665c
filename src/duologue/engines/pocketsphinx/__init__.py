"""The embedded recogniser, pocketsphinx, and the language models that are built for it."""
