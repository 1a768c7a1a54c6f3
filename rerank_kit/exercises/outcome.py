"""What a check replies: this word, or a hint, never the answer."""

PASS = "pass"
