"""The embedded voices, espeak-ng and flite, and what turns their raw sound into speech."""
