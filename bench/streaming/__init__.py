"""What streaming sessions cost and keep: hours of talk, crowds, and each benefit beside what one would do without."""
