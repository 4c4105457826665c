"""Text made speakable: markup taken away, numbers and signs put into words, cut where a breath may be."""
