"""Recognisers and voices behind somebody's network address."""
